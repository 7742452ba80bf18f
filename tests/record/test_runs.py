import errno
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from kdarena.errors import UserError
from kdarena.method.declaration import REFERENCE
from kdarena.record.mlflow import MlflowCopy
from kdarena.record.recorded import Document
from kdarena.record.runs import Record

HOSTILE = "../../etc/passwd'; DROP TABLE runs;--<script>alert(1)</script>\n\x1b[31m"


def log(record, synthetic, method="kd", seed=0, setting="default", facts=None, **changes):
    spec = synthetic.spec(method, seed)
    return record.log(spec, synthetic.result(spec, **changes), setting=setting, facts=facts or {})


def test_a_run_is_read_as_it_was_logged(record, synthetic):
    spec = synthetic.spec("quest", 3, params={"tau": 0.2, "deep": True, "kind": "cosine"}, recipe={"lr": 0.1})
    result = synthetic.result(spec, 91.5)
    run_id = record.log(spec, result, setting="tuned", facts={"track": "classification"})
    (run,) = record.runs()
    assert (run.run_id, run.key, run.setting, dict(run.facts)) == (run_id, spec.key, "tuned", {"track": "classification"})
    assert run.spec == spec
    assert run.spec.key == spec.key
    assert run.result == replace(result, curves={})


def test_a_run_of_a_version_whose_trials_could_end_early_is_read(open_record, synthetic):
    with open_record() as record:
        run_id = log(record, synthetic)
        before = record.runs()
        path = record.directory / "runs" / f"{run_id}.json"
    document = Document.parse(path.read_text())
    path.write_text(Document(document.recorded, {**document.run, "spec": {**document.run["spec"], "prune": None}}).text())
    assert open_record(create=False).runs() == before


def test_a_runs_id_is_32_hexadecimal_digits(record, synthetic):
    run_id = log(record, synthetic)
    assert len(run_id) == 32
    assert set(run_id) <= set("0123456789abcdef")


def test_a_run_started_when_its_training_began(record, synthetic):
    before = time.time()
    log(record, synthetic, spent_s=61.0)
    assert record.runs()[0].started.timestamp() == pytest.approx(before - 61.0, abs=5)


def test_runs_are_read_in_the_order_in_which_they_were_recorded(record, synthetic, monkeypatch):
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)  # a clock that is too coarse to tell them apart
    ids = [log(record, synthetic, seed=seed) for seed in range(20)]
    assert [run.run_id for run in record.runs()] == ids


def test_curves_are_kept_exactly(record, synthetic):
    curve = [(step, math.sin(step)) for step in range(1500)]
    run_id = log(record, synthetic, curves={"train/ce": curve})
    assert record.curves(run_id) == {"train/ce": curve}


def test_a_runs_file_is_one_json_object_with_spec_and_result_whole(record, synthetic):
    run_id = log(record, synthetic)
    values = json.loads((record.directory / "runs" / f"{run_id}.json").read_text())["run"]
    assert values["spec"]["method"] == "kd"
    assert values["result"]["curves"] == {"train/ce": [[0, 2.0], [100, 1.0]]}


def test_the_checkpoint_stays_where_the_engine_put_it(record, synthetic):
    record.checkpoints.mkdir()
    (record.checkpoints / "s.safetensors").write_bytes(b"weights")
    run_id = log(record, synthetic, checkpoint="s.safetensors")
    assert record.checkpoint(run_id) == record.checkpoints / "s.safetensors"


def test_the_checkpoint_is_found_after_the_directory_was_moved(open_record, synthetic, tmp_path):
    with open_record() as record:
        record.checkpoints.mkdir()
        (record.checkpoints / "s.safetensors").write_bytes(b"weights")
        run_id = log(record, synthetic, checkpoint="s.safetensors")
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    assert Record.open(tmp_path / "elsewhere", create=False).checkpoint(run_id).read_bytes() == b"weights"


def test_a_teachers_checkpoint_is_found_where_all_runs_find_it(record, synthetic):
    spec = synthetic.spec("student", purpose="teacher", trains=REFERENCE, reference=None)
    run_id = record.log(spec, synthetic.result(spec, checkpoint=f"{spec.key}.safetensors"), setting="teacher", facts={})
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


def test_two_runs_with_one_key_are_both_kept(record, synthetic):
    spec = synthetic.spec()
    record.log(spec, synthetic.failure(spec, "error"), setting="default", facts={})
    record.log(spec, synthetic.result(spec), setting="default", facts={})
    assert [run.result.status for run in record.runs()] == ["error", "done"]


def test_values_that_are_not_finite_are_read_back_and_do_not_stop_the_record(record, synthetic):
    log(record, synthetic, metrics={"test/top1": math.nan, "test/nll": math.inf}, curves={"train/ce": [(0, math.inf)]})
    metrics = record.runs()[0].result.metrics
    assert math.isnan(metrics["test/top1"])
    assert metrics["test/nll"] == math.inf


def test_names_from_plugins_become_no_paths(record, synthetic):
    spec = replace(synthetic.spec(HOSTILE), task=HOSTILE)
    result = synthetic.result(spec, metrics={f"test/{HOSTILE}": 1.0}, environment={HOSTILE: HOSTILE})
    record.log(spec, result, setting=HOSTILE, facts={HOSTILE: HOSTILE})
    (run,) = record.runs()
    assert (run.spec, run.setting, dict(run.facts)) == (spec, HOSTILE, {HOSTILE: HOSTILE})
    assert [path for path in record.directory.parent.rglob("*") if "passwd" in path.name] == []


def test_a_run_is_found_by_the_beginning_of_its_id(record, synthetic):
    run_id = log(record, synthetic)
    assert record.find(run_id[:8]).run_id == run_id


def test_a_run_is_found_by_its_key_too(record, synthetic):
    run_id = log(record, synthetic)
    assert record.find(record.runs()[0].spec.key[:10]).run_id == run_id


@pytest.mark.parametrize("wanted", ["nope", "", "../../etc/passwd", "*"])
def test_an_unknown_run_is_named(record, synthetic, wanted):
    log(record, synthetic)
    with pytest.raises(UserError, match=r"no run '.*kdarena runs"):
        record.find(wanted)


def test_an_ambiguous_beginning_names_the_candidates(record, synthetic, monkeypatch):
    ids = iter([0xABC1 << 112, 0xABC2 << 112])
    monkeypatch.setattr("uuid.uuid4", lambda: __import__("uuid").UUID(int=next(ids)))
    for seed in range(2):
        log(record, synthetic, seed=seed)
    with pytest.raises(UserError, match=r"beginning of 2 runs \(abc1.*, abc2"):
        record.find("abc")


def test_a_record_opened_for_reading_is_not_written(open_record, synthetic):
    record = open_record(create=False)
    with pytest.raises(RuntimeError, match="writing"):
        log(record, synthetic)


def test_a_second_process_may_not_write(record):
    code = "import sys; from pathlib import Path; from kdarena.record.runs import Record; Record.open(Path(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, str(record.directory)], capture_output=True, text=True, check=False)
    assert "another kdarena is writing there" in done.stderr


def test_a_second_process_may_read(record, synthetic):
    log(record, synthetic)
    assert len(Record.open(record.directory, create=False).runs()) == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from kdarena.record import index
from kdarena.record.recorded import Document
from kdarena.record.runs import Record
from kdarena.plan.spec import Budget, PhaseCost, RunResult, RunSpec

record = Record.open(Path(sys.argv[1]))
for seed in range(3):
    spec = RunSpec("digits", "kd", "s", "final", seed, Budget(60.0, "s"), (PhaseCost("train", None, 1.0, 0.01, 1.0, 0.0, 1),))
    if seed == 2:
        module, name = {"file": (os, "replace"), "index": (index, "_append")}[sys.argv[2]]
        setattr(module, name, lambda *arguments, **named: os.kill(os.getpid(), signal.SIGKILL))
    record.log(spec, RunResult(spec.key, "done", {"test/top1": 90.0}), setting="default", facts={})
"""


@pytest.mark.parametrize(("moment", "complete"), [("file", 2), ("index", 3)])
def test_a_killed_parent_leaves_a_readable_record(open_record, tmp_path, moment, complete):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "new"), moment], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    reader = Record.open(tmp_path / "new", create=False)
    assert [run.spec.seed for run in reader.runs()] == list(range(complete))


def test_neither_reading_nor_a_board_nor_an_export_imports_mlflow_and_a_second_board_no_torch(open_record, synthetic, tmp_path):
    with open_record() as record:
        record.checkpoints.mkdir()
        (record.checkpoints / "s.safetensors").write_bytes(b"weights")
        run_id = log(record, synthetic, checkpoint="s.safetensors")
    code = f"""
import sys, pathlib
from kdarena.cli import listings
out = pathlib.Path({str(tmp_path / "out")!r})
listings.runs(out, True, False)
listings.leaderboard(out, "json", None, ())
listings.export(out, {run_id!r}, pathlib.Path({str(tmp_path / "s.safetensors")!r}), "torch.export", None, False)
assert "mlflow" not in sys.modules
if len(sys.argv) > 1:
    assert "torch" not in sys.modules
"""
    for arguments in ([], ["again"]):  # the first board keeps what the methods declare
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "MLFLOW_TRACKING_URI": "broken://"})
        assert done.returncode == 0, done.stderr


def test_a_full_disk_ends_the_recording_of_a_run_with_its_file_named_and_loses_none_before(open_record, synthetic, monkeypatch):
    def no_space(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    record = open_record()
    first = log(record, synthetic, seed=0)
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", no_space)
        with pytest.raises(OSError, match=r"No space left on device: '.*/runs/[0-9a-f]{32}\.json'"):
            log(record, synthetic, seed=1)
    assert [run.run_id for run in record.runs()] == [first]
    assert [path.name for path in (record.directory / "runs").iterdir()] == [f"{first}.json"]
    second = log(record, synthetic, seed=1)
    assert [run.run_id for run in record.runs()] == [first, second]


def test_where_the_disk_is_full_mlflow_is_not_written(open_record, synthetic, monkeypatch):
    written = []
    record = open_record()
    monkeypatch.setattr(MlflowCopy, "write_missing", lambda copy, seconds=0.0: written.append(seconds))
    with pytest.raises(OSError), record:
        raise OSError(errno.ENOSPC, "full")
    assert written == []
