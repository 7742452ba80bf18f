"""MLflow is a copy: as complete as the record, written once, and never in the way."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from kdarena.errors import UserError
from kdarena.record import runs, sqlite
from kdarena.record.mlflow import MlflowCopy
from kdarena.record.mlflow_parents import family
from kdarena.record.runs import Record

HOSTILE = "../../etc/passwd'; DROP TABLE runs;--<script>alert(1)</script>\n\x1b[31m"


def child(output, runs_in_mlflow):
    """The one child run that MLflow has."""
    (run,) = runs_in_mlflow(output).values()
    return run


def artifacts(output, run):
    return MlflowCopy(output)._artifacts(run)


def test_mlflow_shows_tags_parameters_metrics_curves_and_environment(output, log, runs_in_mlflow):
    run_id = log(output, value=91.5, setting="tuned", facts={"track": "classification"}, spec={"params": {"tau": 4.0}})
    assert MlflowCopy(output).write_missing() == 1
    run = child(output, runs_in_mlflow)
    tags = {name: run.data.tags[f"kdarena.{name}"] for name in ("run_id", "setting", "status", "purpose")}
    assert tags == {"run_id": run_id, "setting": "tuned", "status": "done", "purpose": "final"}
    assert json.loads(run.data.tags["kdarena.facts"]) == {"track": "classification"}
    assert run.data.params["param.tau"] == "4.0"
    assert run.data.metrics["test/top1"] == 91.5
    assert run.data.metrics["system/latency_ms"] == 0.5
    assert run.data.tags["environment.torch"] == "2.13.0"
    assert run.info.status == "FINISHED"
    assert (run.info.end_time - run.info.start_time) / 1000 == pytest.approx(61.0, abs=0.01)
    points = MlflowCopy(output)._client.get_metric_history(run.info.run_id, "train/ce")
    assert [(point.step, point.value) for point in points] == [(0, 2.0), (100, 1.0)]


def test_an_experiment_is_a_task_and_a_parent_run_a_method(output, log, runs_in_mlflow):
    ids = [log(output, method, seed) for method in ("kd", "quest") for seed in (0, 1)]
    MlflowCopy(output).write_missing()
    found = runs_in_mlflow(output)
    parents = [found[run_id].data.tags["mlflow.parentRunId"] for run_id in ids]
    assert parents[0] == parents[1] != parents[2] == parents[3]
    (experiment,) = MlflowCopy(output)._client.search_experiments(filter_string="name LIKE 'kdarena/%'")
    assert experiment.name == "kdarena/digits"
    # by its kind MLflow opens its tables and charts of runs
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"


def parents(output):
    """The parents that MLflow has, by their names."""
    found = MlflowCopy(output)._search("tags.`kdarena.role` = 'method'")
    return {run.info.run_name: run for run in found}


def test_a_parent_has_a_setting_its_parameters_and_the_means_of_its_seeds_under_the_same_names(output, log):
    for seed, value in enumerate((90.0, 92.0)):
        log(output, "kd", seed, value=value)
        log(output, "kd", seed, "tuned", value=value + 5, spec={"params": {"tau": 4.0}})
    log(output, "kd", 2, status="diverged", metrics={})
    MlflowCopy(output).write_missing()
    found = parents(output)
    assert set(found) == {"kd", "kd tuned"}
    assert {name: run.data.metrics["test/top1"] for name, run in found.items()} == {"kd": 91.0, "kd tuned": 96.0}
    assert found["kd"].data.metrics["seeds"] == 2
    assert found["kd tuned"].data.params["param.tau"] == "4.0"
    assert "seed" not in found["kd"].data.params
    assert found["kd tuned"].data.tags["kdarena.purpose"] == "final"


def test_the_mean_of_a_parent_waits_for_the_end_of_a_command_and_follows_later_seeds(output, log):
    log(output, "kd", 0, value=90.0)
    MlflowCopy(output).write_missing(60.0)
    assert "test/top1" not in parents(output)["kd"].data.metrics
    MlflowCopy(output).write_missing()
    assert parents(output)["kd"].data.metrics["test/top1"] == 90.0
    log(output, "kd", 1, value=92.0)
    MlflowCopy(output).write_missing()
    assert parents(output)["kd"].data.metrics["test/top1"] == 91.0


def test_the_page_that_was_written_last_is_an_artifact_and_all_is_written_again_when_it_is_asked_for(output, log):
    page = output / "leaderboards" / "index.html"
    page.parent.mkdir()
    for seed in range(2):
        log(output, "kd", seed, value=90.0)
        page.write_text(f"page {seed}")
        MlflowCopy(output).write_missing()
    (run,) = MlflowCopy(output)._search("tags.`kdarena.role` = 'page'")
    shown = artifacts(output, run) / "index.html"
    assert shown.read_text() == "page 1"
    shown.unlink()
    copy = MlflowCopy(output)
    copy._client.log_metric(parents(output)["kd"].info.run_id, "test/top1", 1.0, step=6000)
    assert copy.check() == 2
    assert copy.write_missing() == 0
    assert parents(output)["kd"].data.metrics["test/top1"] == 90.0
    assert shown.read_text() == "page 1"


def test_spec_result_and_weights_are_artifacts(output, log, runs_in_mlflow):
    log(output, weights=b"weights")
    MlflowCopy(output).write_missing()
    folder = artifacts(output, child(output, runs_in_mlflow))
    assert json.loads((folder / "spec.json").read_text())["method"] == "kd"
    assert json.loads((folder / "result.json").read_text())["curves"] == {"train/ce": [[0, 2.0], [100, 1.0]]}
    assert (folder / "student.safetensors").read_bytes() == b"weights"


def test_a_failed_run_is_marked_failed(output, log, runs_in_mlflow):
    log(output, status="oom", metrics={})
    MlflowCopy(output).write_missing()
    assert child(output, runs_in_mlflow).info.status == "FAILED"


def test_a_run_is_written_once(output, log, runs_in_mlflow):
    first = log(output, seed=0)
    assert MlflowCopy(output).write_missing() == 1
    second = log(output, seed=1)
    assert MlflowCopy(output).write_missing() == 1
    assert MlflowCopy(output).write_missing() == 0
    found = runs_in_mlflow(output)
    assert set(found) == {first, second}
    assert len({run.data.tags["mlflow.parentRunId"] for run in found.values()}) == 1


def contents(output):
    """What MLflow's tables say of each child run, by the record's id, and the artifacts; names that MLflow gives anew are left out."""
    with sqlite3.connect(output / "mlflow.db") as database:
        rows = {uuid: rest for uuid, *rest in database.execute("SELECT run_uuid, name, status, start_time, end_time, artifact_uri FROM runs")}
        values = {uuid: set() for uuid in rows}
        for table, columns in (("tags", "key, value"), ("params", "key, value"), ("metrics", "key, value, step, timestamp, is_nan")):
            for uuid, key, *rest in database.execute(f"SELECT run_uuid, {columns} FROM {table}"):
                values[uuid].add((table, key, *(rest if key != "mlflow.parentRunId" else ())))
    found = {}
    for uuid, (*row, place) in rows.items():
        folder = Path(place.removeprefix("file://"))
        files = {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}
        ids = [value[2] for value in values[uuid] if value[1] == "kdarena.run_id"]
        if ids:
            found[ids[0]] = (row, values[uuid], files)
    return found


def record_mlflow(output):
    """The lines of ``kdarena record mlflow``, by a process of its own, since mlflow keeps a deleted file open."""
    done = subprocess.run([sys.executable, "-m", "kdarena", "record", "mlflow", "--out", output], capture_output=True, text=True, check=True)
    return done.stderr.splitlines()


def test_a_deleted_database_is_written_again_as_complete_by_the_command(output, log):
    ids = {log(output, "kd", 0, weights=b"weights"), log(output, "quest", 1, status="error", error="it broke", metrics={})}
    MlflowCopy(output).write_missing()
    before = contents(output)
    assert set(before) == ids
    (output / "mlflow.db").unlink()
    assert len(Record.open(output, create=False).runs()) == 2
    assert "2 runs written, 0 were there" in record_mlflow(output)[-1]
    assert contents(output) == before


def test_a_run_deleted_in_mlflow_is_written_again_when_it_is_asked_for(output, log, runs_in_mlflow):
    run_id = log(output)
    MlflowCopy(output).write_missing()
    copy = MlflowCopy(output)
    copy._client.delete_run(child(output, runs_in_mlflow).info.run_id)
    assert copy.write_missing() == 0
    assert copy.check() == 0
    assert copy.write_missing() == 1
    assert set(runs_in_mlflow(output)) == {run_id}


def test_an_experiment_deleted_in_mlflow_is_used_again(output, log, runs_in_mlflow):
    log(output, seed=0)
    first = MlflowCopy(output)
    first.write_missing()
    first._client.delete_experiment(first._experiments.of("digits"))
    log(output, seed=1)
    MlflowCopy(output).write_missing()
    assert len(runs_in_mlflow(output)) == 2


KILLED = """
import os, signal, sys
from pathlib import Path
from kdarena.record.mlflow import MlflowCopy
copy = MlflowCopy(Path(sys.argv[1]))
kill = lambda *arguments, **named: os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "written":
    remember = copy._remember
    copy._remember = lambda runs, stamp, stale=(): kill() if stamp and runs else remember(runs, stamp)
else:
    setattr(copy._client, sys.argv[2], kill)
copy.write_missing()
"""


@pytest.mark.parametrize("moment", ["log_batch", "set_terminated", "written"])
def test_what_a_killed_process_left_half_written_is_written_whole_and_once(output, log, runs_in_mlflow, moment):
    ids = {log(output, seed=seed) for seed in range(2)}
    # the parent of the runs is written before, since its end is the first that is set
    run = Record.open(output, create=False).runs()[0]
    MlflowCopy(output)._parents.of(run, family(run))
    done = subprocess.run([sys.executable, "-c", KILLED, str(output), moment], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    MlflowCopy(output).write_missing()
    found = runs_in_mlflow(output)
    assert set(found) == ids
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert len(list((output / "artifacts").rglob("spec.json"))) == 2


def one_line(action):
    """The one warning that an action gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        action()
    (warning,) = caught
    assert "\n" not in str(warning.message)
    return str(warning.message)


def log_and_close(output, synthetic, runs=1):
    record = Record.open(output)
    spec = synthetic.spec()
    record.log(spec, synthetic.result(spec), setting="default", facts={})
    said = one_line(record.close)
    assert len(Record.open(output, create=False).runs()) == runs
    assert "all runs are recorded" in said
    assert f"kdarena record mlflow --out {output}" in said
    return said


def test_a_locked_database_costs_no_result_and_is_written_by_the_next_command(output, synthetic, runs_in_mlflow, monkeypatch):
    monkeypatch.setattr(sqlite, "LOCKED_SECONDS", 0.1)
    with sqlite3.connect(output / "mlflow.db") as holder:
        holder.execute("BEGIN EXCLUSIVE")
        assert "locked" in log_and_close(output, synthetic)
        holder.rollback()
    Record.open(output).close()
    assert len(runs_in_mlflow(output)) == 1


BROKEN = {
    "emptied": lambda path: path.write_bytes(b""),
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "replaced by text": lambda path: path.write_text("to be done " * 1000),
    "a page overwritten": lambda path: path.write_bytes((whole := path.read_bytes())[:8192] + bytes(4096) + whole[12288:]),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "without tables": lambda path: (path.unlink(), sqlite3.connect(path).execute("CREATE TABLE t (a)")),
}


@pytest.mark.parametrize(
    "spoil",
    # two kinds of six are enough for every day
    [pytest.param(spoil, marks=() if name in ("truncated", "without tables") else pytest.mark.slow) for name, spoil in BROKEN.items()],
    ids=BROKEN.keys(),
)
def test_a_broken_database_is_put_aside_with_a_line_and_written_again_as_complete(output, log, spoil):
    ids = {log(output, seed=seed) for seed in range(2)}
    record_mlflow(output)
    before = contents(output)
    spoil(output / "mlflow.db")
    (line,) = record_mlflow(output)[:-1]
    assert "it is now mlflow.broken.db, and a new one is written from the record" in line
    assert contents(output) == before
    assert set(before) == ids


def test_a_database_that_may_not_be_written_is_put_aside_and_written_again(output, log, runs_in_mlflow, monkeypatch):
    log(output)
    problem = sqlite.problem
    monkeypatch.setattr(sqlite, "problem", lambda path, table: "attempt to write a readonly database" if path.exists() else problem(path, table))
    with pytest.warns(UserWarning, match="readonly database.*it is now mlflow.broken.db"):
        assert MlflowCopy(output).write_missing() == 1
    assert (output / "mlflow.broken.db").exists()


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_text(""), lambda path: path.write_text(path.read_text()[:40])])
def test_where_it_is_forgotten_what_was_written_mlflow_is_asked_and_no_run_is_written_twice(output, log, runs_in_mlflow, spoil):
    ids = {log(output, seed=0)}
    MlflowCopy(output).write_missing()
    ids.add(log(output, seed=1))
    spoil(output / "mlflow.written")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert MlflowCopy(output).write_missing() == 1
    assert set(runs_in_mlflow(output)) == ids


def test_an_older_copy_of_the_database_gets_the_runs_that_it_lacks(output, log, runs_in_mlflow):
    first = log(output, seed=0)
    MlflowCopy(output).write_missing()
    older = (output / "mlflow.db").read_bytes()
    second = log(output, seed=1)
    MlflowCopy(output).write_missing()
    (output / "mlflow.db").write_bytes(older)
    assert MlflowCopy(output).write_missing() == 1
    assert set(runs_in_mlflow(output)) == {first, second}


@pytest.mark.parametrize("name", ["a b", "a#b", "a?mode=ro", "a%41", "'\"", "a\nb", "\u00e9\u65e5", "a@b:c", b"a\xff".decode(errors="surrogateescape")])
def test_in_a_directory_of_any_name_the_runs_are_in_its_own_database(output, log, name):
    run_id = log(output)
    elsewhere = output.rename(output.parent / name)
    before = set(output.parent.iterdir())
    assert MlflowCopy(elsewhere).write_missing() == 1
    assert set(contents(elsewhere)) == {run_id}
    assert set(output.parent.iterdir()) == before


def test_a_server_that_is_away_costs_no_result_and_no_minute(output, synthetic, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    started = time.monotonic()
    assert "http://127.0.0.1:9" in log_and_close(output, synthetic)
    assert time.monotonic() - started < 45


def test_a_server_that_fails_costs_no_result(output, synthetic, monkeypatch):
    class Broken(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(418, "no\nteapot")

        do_POST = do_GET  # noqa: N815 - http.server calls it so

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Broken) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        log_and_close(output, synthetic)
        server.shutdown()


def test_who_interrupts_a_command_does_not_wait_for_mlflow(output, synthetic, monkeypatch):
    monkeypatch.setattr(MlflowCopy, "write_missing", lambda copy, seconds=0.0: pytest.fail("written"))
    with pytest.raises(KeyboardInterrupt), Record.open(output) as record:  # noqa: PT012 - the record is closed by the interrupt
        record.log(synthetic.spec(), synthetic.result(synthetic.spec()), setting="default", facts={})
        raise KeyboardInterrupt


def test_a_command_that_goes_on_writes_in_between_and_never_for_long(output, synthetic, monkeypatch):
    asked = []
    monkeypatch.setattr(MlflowCopy, "write_missing", lambda copy, seconds=float("inf"): asked.append(seconds))
    now = [0.0]
    monkeypatch.setattr(runs.time, "monotonic", lambda: now[0])
    with Record.open(output) as record:
        for seconds in (10.0, 61.0, 70.0, 122.0):
            now[0] = seconds
            record.log(synthetic.spec(), synthetic.result(synthetic.spec()), setting="default", facts={})
    assert asked == [runs.MLFLOW_SECONDS, runs.MLFLOW_SECONDS, float("inf")]


def test_what_no_time_was_left_for_is_written_later(output, log, runs_in_mlflow):
    for seed in range(2):
        log(output, seed=seed)
    copy = MlflowCopy(output)
    assert copy.write_missing(seconds=-1) == 0
    assert copy.write_missing() == 2


def test_a_file_that_cant_be_read_does_not_stop_the_others(output, log, runs_in_mlflow):
    broken, whole = log(output, seed=0), log(output, seed=1)
    (output / "runs" / f"{broken}.json").write_text("{")
    assert MlflowCopy(output).write_missing() == 1
    assert set(runs_in_mlflow(output)) == {whole}


def test_another_tracking_uri_takes_the_runs_and_their_weights(output, log, runs_in_mlflow, empty_database, tmp_path, monkeypatch):
    uri = f"sqlite:///{(output / 'mlflow.db').rename(tmp_path / 'server.db')}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    log(output, weights=b"weights")
    copy = MlflowCopy(output)
    assert copy.write_missing() == 1
    run = child(output, runs_in_mlflow)
    assert {item.path for item in copy._client.list_artifacts(run.info.run_id)} == {"spec.json", "result.json", "student.safetensors"}
    assert not (output / "mlflow.db").exists()


def test_two_stores_are_remembered_apart(output, log, tmp_path, empty_database, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log(output)
    assert MlflowCopy(output).write_missing() == 1
    other = tmp_path / "server.db"
    other.write_bytes(empty_database.read_bytes())
    assert MlflowCopy(output, f"sqlite:///{other}").write_missing() == 1
    assert MlflowCopy(output, f"sqlite:///{other}").write_missing() == 0


def test_a_shared_store_keeps_the_running_runs_of_others(output, log, tmp_path, empty_database, monkeypatch):
    other = tmp_path / "server.db"
    other.write_bytes(empty_database.read_bytes())
    monkeypatch.chdir(tmp_path)
    copy = MlflowCopy(output, f"sqlite:///{other}")
    tags = {"kdarena.role": "training", "kdarena.run_id": "f" * 32}
    theirs = copy._client.create_run(copy._experiments.of("digits"), tags=tags).info.run_id
    log(output)
    copy.check()
    copy.write_missing()
    assert copy._client.get_run(theirs).info.status == "RUNNING"


def test_long_values_and_long_curves_pass_mlflows_limits(output, log, runs_in_mlflow):
    params = {f"p{number}": float(number) for number in range(250)} | {"long": "x" * 9000}
    curves = {f"train/term{number}": [(step, 0.5) for step in range(300)] for number in range(15)}
    log(output, spec={"params": params}, curves=curves, error="é" * 20_000, facts={"note": "y" * 9000})
    MlflowCopy(output).write_missing()
    run = child(output, runs_in_mlflow)
    assert len([name for name in run.data.params if name.startswith("param.")]) == 251
    assert run.data.metrics["train/term14"] == 0.5


def test_names_from_plugins_become_neither_paths_nor_queries(output, log, runs_in_mlflow):
    for seed in range(2):
        log(
            output,
            HOSTILE,
            seed,
            HOSTILE,
            {HOSTILE: HOSTILE},
            spec={"task": HOSTILE},
            metrics={f"test/{HOSTILE}": 1.0, "/": 2.0},
            environment={HOSTILE: HOSTILE},
        )
    MlflowCopy(output).write_missing()
    assert len(runs_in_mlflow(output)) == 2
    assert [path for path in output.parent.rglob("*") if "passwd" in path.name and not path.is_relative_to(output / "artifacts")] == []


def test_nothing_is_printed_while_mlflow_is_written(output, log, tmp_path):
    log(output)
    (output / "mlflow.db").unlink()
    code = "import sys, pathlib; from kdarena.record.runs import Record; Record.open(pathlib.Path(sys.argv[1])).close()"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "PYTEST"))}
    done = subprocess.run([sys.executable, "-c", code, str(output)], capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (output / "mlflow.db").exists()


def test_without_a_run_to_write_mlflow_is_not_opened(empty_output, tmp_path):
    code = "import sys, pathlib; from kdarena.record.runs import Record; Record.open(pathlib.Path(sys.argv[1])).close(); assert 'mlflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "new")], check=True)


def test_an_old_schema_names_the_command_that_updates_it(output, log):
    log(output)
    with sqlite3.connect(output / "mlflow.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    with pytest.raises(UserError, match="mlflow db upgrade sqlite:"):
        MlflowCopy(output).write_missing()


def test_a_result_is_replaced_by_nothing(output, log, synthetic):
    run_id = log(output)
    before = (output / "runs" / f"{run_id}.json").read_bytes()
    MlflowCopy(output).write_missing()
    assert (output / "runs" / f"{run_id}.json").read_bytes() == before
    assert replace(Record.open(output, create=False).find(run_id).result, curves={}) == replace(synthetic.result(synthetic.spec()), curves={})
