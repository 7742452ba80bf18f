import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kdarena.errors import UserError
from kdarena.method.declaration import REFERENCE
from kdarena.record.mlflow import MOST_POINTS, json_tags, safe_key, safe_name, thinned
from kdarena.record.mlflow import metrics as to_mlflow
from kdarena.record.runs import Record

HOSTILE = "../../etc/passwd'; DROP TABLE runs;--<script>alert(1)</script>\n\x1b[31m"


def log(record, synthetic, method="kd", seed=0, setting="default", facts=None, **changes):
    spec = synthetic.spec(method, seed)
    return record.log(spec, synthetic.result(spec, **changes), setting=setting, facts=facts or {})


def in_database(record, query):
    with sqlite3.connect(record.directory / "mlflow.db") as database:
        return database.execute(query).fetchall()


def test_a_run_is_read_as_it_was_logged(record, synthetic):
    spec = synthetic.spec("quest", 3, params={"tau": 0.2, "deep": True, "kind": "cosine"}, recipe={"lr": 0.1})
    result = synthetic.result(spec, 91.5)
    run_id = record.log(spec, result, setting="tuned", facts={"track": "classification"})
    (found,) = record.runs()
    assert (found.run_id, found.key, found.setting, dict(found.facts)) == (run_id, spec.key, "tuned", {"track": "classification"})
    assert found.spec == spec
    assert found.spec.key == spec.key
    assert found.result == replace(result, curves={})


def test_curves_are_kept_exactly(record, synthetic):
    curve = [(step, math.sin(step)) for step in range(1500)]
    run_id = log(record, synthetic, curves={"train/ce": curve})
    assert record.curves(run_id) == {"train/ce": curve}


def test_mlflow_shows_parameters_metrics_curves_and_environment(record, synthetic):
    spec = synthetic.spec(params={"tau": 4.0})
    run_id = record.log(spec, synthetic.result(spec, 91.5), setting="default", facts={})
    run = record._client.get_run(run_id)
    assert run.data.params["param.tau"] == "4.0"
    assert run.data.metrics["test/top1"] == 91.5
    assert run.data.metrics["system/latency_ms"] == 0.5
    assert run.data.tags["environment.torch"] == "2.13.0"
    assert run.info.status == "FINISHED"
    assert [(point.step, point.value) for point in record._client.get_metric_history(run_id, "train/ce")] == [(0, 2.0), (100, 1.0)]


def test_an_experiment_is_a_task_and_a_parent_run_a_method(record, synthetic):
    ids = [log(record, synthetic, method, seed) for method in ("kd", "quest") for seed in (0, 1)]
    parents = [record._client.get_run(run_id).data.tags["mlflow.parentRunId"] for run_id in ids]
    assert parents[0] == parents[1] != parents[2] == parents[3]
    assert [one.name for one in record._client.search_experiments(filter_string="name LIKE 'kdarena/%'")] == ["kdarena/digits"]


def test_a_reopened_record_goes_on_under_the_same_parents(open_record, synthetic):
    with open_record() as first:
        one = log(first, synthetic, seed=0)
    with open_record() as second:
        two = log(second, synthetic, seed=1)
        parents = {second._client.get_run(run_id).data.tags["mlflow.parentRunId"] for run_id in (one, two)}
    assert len(parents) == 1


def test_spec_and_result_lie_beside_the_run_as_json(record, synthetic):
    run_id = log(record, synthetic)
    folder = record._artifacts(record._get(run_id))
    assert json.loads((folder / "spec.json").read_text())["method"] == "kd"
    assert json.loads((folder / "result.json").read_text())["curves"] == {"train/ce": [[0, 2.0], [100, 1.0]]}


def test_the_checkpoint_moves_into_the_artifacts(record, synthetic):
    record.checkpoints.mkdir()
    (record.checkpoints / "s.safetensors").write_bytes(b"weights")
    run_id = log(record, synthetic, checkpoint="s.safetensors")
    assert record.checkpoint(run_id).read_bytes() == b"weights"
    assert list(record.checkpoints.iterdir()) == []


def test_the_checkpoint_is_found_after_the_directory_was_moved(open_record, synthetic, tmp_path):
    with open_record() as record:
        record.checkpoints.mkdir()
        (record.checkpoints / "s.safetensors").write_bytes(b"weights")
        run_id = log(record, synthetic, checkpoint="s.safetensors")
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    assert Record.open(tmp_path / "elsewhere", create=False).checkpoint(run_id).read_bytes() == b"weights"


def test_a_teachers_checkpoint_is_found_where_all_runs_find_it(record, synthetic):
    spec = synthetic.spec("student", purpose="teacher", trains=REFERENCE, reference=None)
    run_id = record.log(spec, synthetic.result(spec), setting="teacher", facts={})
    (record.directory / "teachers").mkdir()
    (record.directory / "teachers" / f"{spec.key}.safetensors").write_bytes(b"weights")
    assert record.checkpoint(run_id).read_bytes() == b"weights"


def test_a_checkpoint_outside_of_its_folder_is_refused(record, synthetic, tmp_path):
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(ValueError, match="leads out"):
        log(record, synthetic, checkpoint="../../secret")
    assert record.runs() == []


def test_a_run_without_checkpoint_says_why(record, synthetic):
    spec = synthetic.spec()
    run_id = record.log(spec, synthetic.failure(spec), setting="default", facts={})
    with pytest.raises(UserError, match="kd, diverged: step 7: term 'ce' is nan"):
        record.checkpoint(run_id)


def test_a_failed_run_is_marked_failed(record, synthetic):
    spec = synthetic.spec()
    run_id = record.log(spec, synthetic.failure(spec, "oom"), setting="default", facts={})
    assert record._client.get_run(run_id).info.status == "FAILED"
    assert record.runs()[0].result.status == "oom"


def test_of_two_runs_with_one_key_the_last_stands(record, synthetic):
    spec = synthetic.spec()
    record.log(spec, synthetic.failure(spec, "error"), setting="default", facts={})
    record.log(spec, synthetic.result(spec), setting="default", facts={})
    assert len(record.runs()) == 2
    assert record.by_key()[spec.key].result.status == "done"


def test_values_that_are_not_finite_are_read_back_and_do_not_stop_the_record(record, synthetic):
    log(record, synthetic, metrics={"test/top1": math.nan, "test/nll": math.inf}, curves={"train/ce": [(0, math.inf)]})
    metrics = record.runs()[0].result.metrics
    assert math.isnan(metrics["test/top1"])
    assert metrics["test/nll"] == math.inf


def test_long_values_and_long_curves_pass_mlflows_limits(record, synthetic):
    spec = synthetic.spec(params={f"p{number}": float(number) for number in range(250)} | {"long": "x" * 9000})
    curves = {f"train/term{number}": [(step, 0.5) for step in range(300)] for number in range(15)}
    result = synthetic.result(spec, curves=curves, error="é" * 20_000)
    run_id = record.log(spec, result, setting="default", facts={"note": "y" * 9000})
    (found,) = record.runs()
    assert found.spec == spec
    assert found.result.error == "é" * 20_000
    assert record.curves(run_id) == curves


def test_names_from_plugins_become_neither_paths_nor_queries(record, synthetic):
    spec = replace(synthetic.spec(HOSTILE), task=HOSTILE)
    result = synthetic.result(spec, metrics={f"test/{HOSTILE}": 1.0, "/": 2.0, "test/top1": 3.0}, environment={HOSTILE: HOSTILE})
    record.log(spec, result, setting=HOSTILE, facts={HOSTILE: HOSTILE})
    record.log(replace(spec, seed=1), result, setting=HOSTILE, facts={})
    assert [run.spec.method for run in record.runs()] == [HOSTILE] * 2
    outside = [path for path in record.directory.parent.rglob("*") if "passwd" in path.name and not path.is_relative_to(record.directory / "artifacts")]
    assert outside == []


@pytest.mark.parametrize("text", ["..", "", "/", ".", "a/../b", "a b", "ü", "x" * 300, "-"])
def test_a_safe_name_is_one_plain_part_of_a_path(text):
    name = safe_name(text)
    assert name == Path(name).name
    assert name not in (".", "..")
    assert len(name) < 100


def test_different_texts_have_different_safe_names():
    assert len({safe_name(text) for text in ("a/b", "a-b", "a b", "a\\b", "A/b")}) == 5


@pytest.mark.parametrize("text", ["/a//b/", "../x", "a:b", "é?", "", "a/./b"])
def test_mlflow_takes_a_safe_key(text):
    from mlflow.utils.validation import _validate_metric_name

    _validate_metric_name(safe_key(text))


def test_a_long_curve_is_thinned_with_its_ends_kept():
    curve = [(step, float(step)) for step in range(12_345)]
    found = thinned(curve)
    assert len(found) == MOST_POINTS
    assert (found[0], found[-1]) == (curve[0], curve[-1])


def test_infinity_is_drawn_as_a_gap():
    assert math.isnan(to_mlflow({"test/nll": math.inf}, {}, 0, 0)[0].value)


def test_a_long_json_value_is_cut_into_tags():
    assert [len(piece) for piece in json_tags("k", "x" * 20_000).values()] == [8000, 8000, 4002]


def test_a_run_is_found_by_the_beginning_of_its_id(record, synthetic):
    run_id = log(record, synthetic)
    assert record.find(run_id[:8]).run_id == run_id


def test_an_unknown_run_is_named(record):
    with pytest.raises(UserError, match=r"no run 'nope'.*kdarena runs"):
        record.find("nope")


def test_an_ambiguous_beginning_names_the_candidates(record, synthetic, monkeypatch):
    monkeypatch.setattr(record, "runs", lambda: synthetic.runs("kd", [1.0, 2.0]))
    with pytest.raises(UserError, match="beginning of 2 runs"):
        record.find("0000")


def test_a_record_opened_for_reading_is_not_written(open_record, synthetic):
    record = open_record(create=False)
    with pytest.raises(RuntimeError, match="writing"):
        log(record, synthetic)


def test_reading_a_missing_directory_names_the_command_to_run(tmp_path):
    with pytest.raises(UserError, match="kdarena run --plugins all"):
        Record.open(tmp_path / "nowhere", create=False)
    assert not (tmp_path / "nowhere").exists()


def test_a_directory_of_another_version_is_refused(tmp_path):
    (tmp_path / "kdarena.json").write_text('{"format": 99}')
    with pytest.raises(UserError, match="format 99"):
        Record.open(tmp_path)


def test_a_broken_mark_is_refused(tmp_path):
    (tmp_path / "kdarena.json").write_text("{")
    with pytest.raises(UserError, match="can't be read"):
        Record.open(tmp_path)


def test_a_directory_with_other_things_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match=r"thesis\.tex"):
        Record.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_place_of_the_directory_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--out"):
        Record.open(tmp_path / "file")


def test_a_damaged_database_is_named(open_record, tmp_path):
    (tmp_path / "out" / "mlflow.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(UserError, match="MLflow can't open it"):
        open_record()


def test_a_second_process_may_not_write(record):
    code = "import sys; from pathlib import Path; from kdarena.record import output; output.lock(Path(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, str(record.directory)], capture_output=True, text=True, check=False)
    assert "another kdarena is writing there" in done.stderr


def test_another_tracking_uri_takes_the_runs(tmp_path, empty_output, synthetic, monkeypatch):
    other = tmp_path / "server.db"
    other.write_bytes((empty_output / "mlflow.db").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{other}")
    with Record.open(tmp_path / "out") as record:
        record.checkpoints.mkdir()
        (record.checkpoints / "s.safetensors").write_bytes(b"weights")
        run_id = log(record, synthetic, checkpoint="s.safetensors")
        assert [run.run_id for run in record.runs()] == [run_id]
        assert record.checkpoint(run_id).read_bytes() == b"weights"
        assert record.curves(run_id) == {"train/ce": [(0, 2.0), (100, 1.0)]}
    assert not (tmp_path / "out" / "mlflow.db").exists()


def test_a_shared_store_keeps_the_running_runs_of_others(tmp_path, empty_output, synthetic, monkeypatch):
    other = tmp_path / "server.db"
    other.write_bytes((empty_output / "mlflow.db").read_bytes())
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{other}"
    with Record.open(tmp_path / "mine", tracking_uri=uri) as mine:
        experiment = mine._experiment("digits")
        theirs = mine._client.create_run(experiment, tags={"kdarena.role": "training", "kdarena.directory": "/theirs"}).info.run_id
        ours = mine._client.create_run(experiment, tags={"kdarena.role": "training", "kdarena.directory": str(mine.directory)}).info.run_id
    with Record.open(tmp_path / "mine", tracking_uri=uri) as again:
        assert again._client.get_run(theirs).info.status == "RUNNING"
        assert again._client.get_run(ours).info.lifecycle_stage == "deleted"


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = {path!r}
from kdarena.method.contract import REFERENCE
from kdarena.record.runs import Record
from kdarena.plan.spec import Budget, PhaseCost, RunResult, RunSpec

with Record.open(Path(sys.argv[1])) as record:
    for seed in range(3):
        spec = RunSpec("digits", "kd", "s", "final", seed, Budget(60.0, "s"), (PhaseCost("train", None, 1.0, 0.01, 1.0, 0.0, 1),))
        if seed == 2:
            setattr(record._client, sys.argv[2], lambda *arguments, **named: os.kill(os.getpid(), signal.SIGKILL))
        record.log(spec, RunResult(spec.key, "done", {{"test/top1": 90.0}}), setting="default", facts={{}})
"""


@pytest.mark.parametrize(("moment", "complete"), [("set_tag", 2), ("set_terminated", 3)])
def test_a_killed_parent_leaves_a_readable_record(open_record, tmp_path, moment, complete):
    code = KILLED.format(path=[path for path in sys.path if path])
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "out"), moment], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    reader = open_record(create=False)
    assert len(reader.runs()) == complete
    writer = open_record()
    assert [run.spec.seed for run in writer.runs()] == list(range(complete))
    assert in_database(writer, "SELECT count(*) FROM runs WHERE status = 'RUNNING'") == [(0,)]
    folders = [path.parent for path in (writer.directory / "artifacts").rglob("spec.json")]
    assert len(folders) == complete


def test_nothing_is_printed_while_recording(tmp_path):
    code = KILLED.format(path=[path for path in sys.path if path])
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "PYTEST"))}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "new"), "no_such_method"], capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_tags_changed_by_hand_are_named(record, synthetic):
    run_id = log(record, synthetic)
    record._client.set_tag(run_id, "kdarena.spec", "{")
    with pytest.raises(UserError, match=f"run {run_id}: its tags can't be read"):
        record.runs()


def test_a_run_deleted_in_the_user_interface_counts_as_never_run(record, synthetic):
    record._client.delete_run(log(record, synthetic))
    assert record.runs() == []


def test_an_experiment_deleted_in_the_user_interface_is_used_again(open_record, synthetic):
    with open_record() as first:
        log(first, synthetic)
        first._client.delete_experiment(first._experiment("digits"))
    with open_record() as second:
        log(second, synthetic, seed=1)
        assert [run.spec.seed for run in second.runs()] == [0, 1]
