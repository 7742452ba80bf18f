"""Observers hear of runs, change nothing, and their failures are a line."""

import json

import pytest
from docs.examples import examples

from kdarena.arena.observers import find_observers
from kdarena.method.discovery import discover

BAD = """
from kdarena import hookimpl
@hookimpl
def run_started(run):
    raise RuntimeError("no network")
@hookimpl
def evaluated(metrics):
    print("spoilt")
    metrics["test/top1"] = 100.0
@hookimpl
def run_finished(run):
    run.params["a"] = 3
"""
LEAVES = """
from kdarena import hookimpl
@hookimpl
def run_started():
    raise SystemExit(3)
"""
MISSPELT = """
from kdarena import hookimpl
@hookimpl
def run_started(run): pass
@hookimpl
def run_finish(run): pass
"""
UNMARKED = "def run_started(run): pass\n"


@pytest.fixture
def heard(tmp_path, monkeypatch, synthetic):
    """Tells observers of one run; gives the lines that were said of them, and the run."""

    def tell(*texts, times=1):
        paths = []
        for number, text in enumerate(texts):
            paths.append(tmp_path / f"observer{number}.py")
            paths[-1].write_text(text)
        monkeypatch.chdir(tmp_path)
        said = []
        observers = find_observers([str(path) for path in paths], said.append)
        run = synthetic.run("kd", params={"a": 0.5})
        for _ in range(times):
            observers.started(run.spec)
            observers.finished(run.spec, run.result)
        return said, run

    return tell


def test_the_example_hears_of_a_run(heard, tmp_path):
    said, run = heard(examples("observers.md")["results_file.py"])
    assert said == []
    events = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["started", "evaluated", "finished"]
    assert events[1]["test/top1"] == run.result.metrics["test/top1"]


def test_what_an_observer_raises_is_a_line_each_once_and_the_others_go_on(heard, tmp_path, capfd):
    said, run = heard(BAD, examples("observers.md")["results_file.py"], LEAVES, times=2)
    assert len(said) == 4
    assert "observer observer0" in said[0]
    assert "hook 'run_started' failed: RuntimeError: no network" in said[0]
    assert "observer0.py, line 5" in said[0]
    assert "does not support item assignment" in said[2] + said[3]
    assert "observer observer2" in said[1]
    assert not any("\n" in line for line in said)
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 6
    assert capfd.readouterr().out == ""
    assert run.result.metrics["test/top1"] == 90.0
    assert run.spec.params == {"a": 0.5}


def test_an_observer_is_no_broken_method(tmp_path):
    (tmp_path / "observer.py").write_text(examples("observers.md")["results_file.py"])
    assert [plugin.error for plugin in discover([tmp_path / "observer.py"]) if plugin.error] == []


@pytest.mark.parametrize(("text", "words"), [(MISSPELT, "unknown hook 'run_finish'"), (UNMARKED, "'run_started' is not marked with @hookimpl")])
def test_an_observer_that_would_never_be_called_is_broken_with_the_reason(tmp_path, text, words):
    (tmp_path / "observer.py").write_text(text)
    (plugin,) = [plugin for plugin in discover([tmp_path / "observer.py"]) if plugin.error]
    assert words in plugin.error


def test_a_plugin_of_a_method_and_an_observer_is_both(tmp_path):
    method = "from kdarena import Method, Paper, hookimpl\nmethod = Method('mine', 'my own', Paper('t', 'v', 2026, 'u'))\n"
    loss = "@hookimpl\ndef loss(step):\n    return {'task': step.task.loss(step.student, step.targets)}\n@hookimpl\ndef run_started(run):\n    pass\n"
    (tmp_path / "both.py").write_text(method + loss)
    assert "mine" in {plugin.name for plugin in discover([tmp_path / "both.py"]) if plugin.error is None}
