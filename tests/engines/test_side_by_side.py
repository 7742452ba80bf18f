"""Runs side by side in a real worker: what happens to one takes no other's result down."""

from dataclasses import replace

import pytest

from kdarena.arena import scheduler
from kdarena.arena.scheduler import Job
from kdarena.engines.local import LocalEngine
from kdarena.method.discovery import discover
from kdarena.plan.spec import Budget, PhaseCost, RunSpec
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
            if step.run.seed == 1 and step.progress >= 0.8:
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

    def done(method, steps=(60, 100, 100), silence_limit=60.0):
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
            beside=lambda idle, job, waiting: waiting,
            again=lambda job, why: reasons.add(why),
        )
        return results, groups, reasons

    yield done
    for engine in engines:
        engine.close()


def test_after_the_death_of_a_worker_each_run_that_had_not_ended_is_run_again_alone_and_the_one_that_was_the_reason_fails_there(do):
    results, groups, reasons = do("killed")
    assert [result.status for result in results] == ["done", "killed", "done"]
    assert groups == [[0, 1, 2], [1], [2]]
    assert [result.system.get("together") for result in results] == [3.0, None, 1.0]
    assert ["killed from outside (SIGKILL)" in why for why in reasons] == [True]


def test_a_run_that_changes_what_numbers_depend_on_costs_its_neighbours_nothing_but_time(do):
    results, groups, reasons = do("autocast")
    assert [result.status for result in results] == ["done"] * 3
    assert groups == [[0, 1, 2], [1], [2]]
    assert [len(result.notes) for result in results] == [0, 1, 0]
    assert reasons == {"autocast of seed 1 left torch's autocast for cpu on (before: off)"}


@pytest.mark.slow
def test_a_silent_run_takes_no_other_down(do):
    results, groups, _ = do("endless", silence_limit=15.0)
    assert [result.status for result in results] == ["done", "timeout", "done"]
    assert groups == [[0, 1, 2], [1], [2]]


def test_what_a_run_gives_side_by_side_in_a_worker_is_what_it_gives_alone(do):
    together, _, _ = do("good")
    (alone,), _, _ = do("good", steps=(60,))
    assert (alone.metrics, alone.curves) == (together[0].metrics, together[0].curves)
    assert [result.status for result in together] == ["done"] * 3
