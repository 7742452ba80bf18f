"""What a command with a larger total time says of the runs of a shorter one."""

from dataclasses import replace

import pytest

from kdarena.arena.reuse import recorded_runs, said_of_reuse
from kdarena.arena.scheduler import Job
from kdarena.plan.allocation import Allocation
from kdarena.plan.spec import Budget, RunResult, RunSpec

BEFORE = Allocation(0.5, "s", 3, 0.0, "30se")


def spec(purpose, seed):
    return RunSpec("task", "m", "", purpose, seed, Budget(1.0, "s"), ())


def jobs(purpose, seeds):
    return [Job(spec(purpose, seed), "") for seed in seeds]


def trials_and_finals(seeds):
    yield jobs("tune", range(6))
    yield jobs("tune", range(6, 12))
    yield jobs("final", range(seeds))


def known(purpose, seeds):
    return {spec(purpose, seed).key: RunResult(spec(purpose, seed).key, "done") for seed in seeds}


def test_of_the_runs_that_are_asked_for_those_that_are_recorded_are_counted():
    assert recorded_runs(trials_and_finals(3), {}) == 0
    assert recorded_runs(trials_and_finals(5), known("tune", range(12)) | known("final", range(3))) == 15
    assert recorded_runs(trials_and_finals(3), known("tune", range(12)) | known("final", range(3))) == 15


def test_what_follows_from_a_trial_that_is_not_recorded_is_not_counted():
    assert recorded_runs(trials_and_finals(5), known("tune", range(5)) | known("final", range(3))) == 5


@pytest.mark.parametrize(
    ("now", "says"),
    [
        (replace(BEFORE, seeds=5), "keeps 180 runs of the command with a total of 10m, adds 2 seeds"),
        (replace(BEFORE, seeds=4, tuning=0.75), "keeps 180 runs of the command with a total of 10m, adds 1 seed and trials"),
        (BEFORE, "keeps 180 runs of the command with a total of 10m, adds nothing"),
        (
            replace(BEFORE, amount=1.0, stated="60se"),
            "the budget of a run is 60se where it was 30se in the command with a total of 10m: runs of different budgets don't compare, "
            "so all are new; the recorded ones stay on their own board",
        ),
    ],
)
def test_a_longer_command_says_what_it_keeps_and_what_is_new(now, says):
    assert said_of_reuse(600.0, BEFORE, now, 180) == says
