"""Runs side by side in a real worker: what happens to one takes no other's result down."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from kdarena.arena import scheduler
from kdarena.arena.scheduler import Job
from kdarena.engines import carried_out
from kdarena.engines.carried_out import answers_to
from kdarena.engines.engine import answer_from
from kdarena.engines.local import LocalEngine
from kdarena.execute.together import Disturbed
from kdarena.method.discovery import discover
from kdarena.plan.spec import Budget, PhaseCost, RunResult, RunSpec
from kdarena.tracks import find_card

PLUGIN = """
import os, signal, sys, time
import torch
from kdarena import Method, Paper, hookimpl, no_teachers

def make(name, act):
    class Neighbour:
        method = Method(name, name, Paper("t", "v", 2026, "u"), teachers=no_teachers)
        @hookimpl
        def loss(self, step):
            if step.run.seed == 2 and step.progress >= 0.8:
                act()
            return {"task": step.task.loss(step.student, step.targets)}
    return Neighbour

variants = (
    make("good", lambda: None),
    make("killed", lambda: os.kill(os.getpid(), signal.SIGKILL)),
    make("autocast", lambda: torch.set_autocast_enabled("cpu", True)),
    make("endless", lambda: time.sleep(1000)),
)
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "neighbours.py").write_text(PLUGIN)
    return tmp_path / "neighbours.py"


@pytest.fixture
def do(file, tmp_path):
    """Runs seeds of a method side by side through the scheduler; gives their results, the groups that workers were given, and why runs were run again."""
    engines = []

    def done(method, steps=(50, 150, 100), silence_limit=60.0):
        engines.append(
            LocalEngine(
                devices=["cpu"],
                threads=1,
                teachers=tmp_path / "t",
                output=tmp_path / "o",
                log=tmp_path / "log",
                plugin_paths=[str(file)],
                silence_limit=silence_limit,
            )
        )
        source = next(one.source for one in discover([file]) if one.name == method)
        data = find_card("digits").digest(None)
        one = RunSpec("digits", method, source, "final", 0, Budget(1.0, "flop"), (PhaseCost("train", None, 1.0, 1.0, None, None, 0),), data=data)
        jobs = [Job(replace(one, seed=seed, budget=Budget(float(count), "flop")), "default") for seed, count in enumerate(steps)]
        submit, groups, reasons, results = engines[-1].submit, [], set(), []
        engines[-1].submit = lambda *specs: (groups.append([spec.seed for spec in specs]), submit(*specs))

        def work():
            results.extend((yield jobs))

        scheduler.run(
            engines[-1],
            [work()],
            recall=lambda spec: None,
            keep=lambda job, result: None,
            companions=lambda idle, job, waiting: waiting,
            again=lambda job, why: reasons.add(why),
        )
        return results, groups, reasons

    yield done
    for engine in engines:
        engine.close()


def test_after_the_death_of_a_worker_each_run_that_had_not_ended_is_run_again_alone_and_the_one_that_was_the_reason_fails_there(do):
    results, groups, reasons = do("killed")
    assert [result.status for result in results] == ["done", "done", "killed"]
    assert groups == [[0, 1, 2], [1], [2]]
    assert [result.system.get("together") for result in results] == [3.0, 1.0, None]
    assert ["killed from outside (SIGKILL)" in why for why in reasons] == [True]


@pytest.mark.slow
def test_a_run_that_changes_what_numbers_depend_on_costs_its_neighbours_nothing_but_time(do):
    results, groups, reasons = do("autocast")
    assert [result.status for result in results] == ["done"] * 3
    assert groups == [[0, 1, 2], [1], [2]]
    assert [len(result.notes) for result in results] == [0, 0, 1]
    assert reasons == {"autocast of seed 2 left torch's autocast for cpu on (before: off)"}


@pytest.mark.slow
def test_a_silent_run_takes_no_other_down(do):
    results, groups, _ = do("endless", silence_limit=40.0)
    assert [result.status for result in results] == ["done", "done", "timeout"]
    assert groups == [[0, 1, 2], [1], [2]]


@pytest.mark.slow
def test_what_a_run_gives_side_by_side_in_a_worker_is_what_it_gives_alone(do):
    together, _, _ = do("good")
    (alone,), _, _ = do("good", steps=(50,))
    assert (alone.metrics, alone.curves) == (together[0].metrics, together[0].curves)
    assert [result.status for result in together] == ["done"] * 3


def test_a_worker_that_can_not_go_on_says_so_after_the_results_that_it_has(monkeypatch):
    specs = [RunSpec("digits", "good", "", "final", seed, Budget(1.0, "flop"), ()) for seed in range(3)]

    def execute_together(runs, workspace):
        yield runs[0], RunResult(runs[0].key, "done")
        raise Disturbed("good of seed 1 left a thread")

    monkeypatch.setattr(carried_out, "execute_together", execute_together)
    lines = [json.dumps(one).encode() for one in answers_to(specs, SimpleNamespace(device="cpu"), lambda method: (), list)]
    jobs = {spec.key: spec for spec in specs}
    (first,), last = answer_from(jobs, lines[0])
    assert (first.spec, first.result.status, last) == (specs[0], "done", False)
    events, last = answer_from({spec.key: spec for spec in specs[1:]}, lines[1])
    assert [(event.spec, event.result, event.again) for event in events] == [(spec, None, "good of seed 1 left a thread") for spec in specs[1:]]
    assert last


def test_of_several_results_only_the_last_ends_a_worker_that_was_changed(monkeypatch):
    specs = [RunSpec("digits", "good", "", "final", seed, Budget(1.0, "flop"), ()) for seed in range(2)]
    monkeypatch.setattr(carried_out, "execute_together", lambda runs, workspace: ((run, RunResult(run.key, "done")) for run in runs))
    answers = list(answers_to(specs, SimpleNamespace(device="cpu"), lambda method: (f"loads {method}.py",), lambda: ["a thread running"]))
    assert [answer["last"] for answer in answers] == [False, True]
    assert answers[0]["result"]["notes"] == ("loads good.py", "left a thread running; its worker was replaced")
