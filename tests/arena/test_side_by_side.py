"""Which runs are given to a worker together."""

from dataclasses import replace

import pytest

from kdarena.arena.scheduler import Job
from kdarena.arena.side_by_side import SideBySide
from kdarena.method.declaration import REFERENCE
from kdarena.plan.cost import CostProfile, ProfileSpec
from kdarena.plan.spec import Budget, RunResult, RunSpec


def job(method="kd", seed=0, purpose="final", task="digits", **changes):
    return Job(replace(RunSpec(task, method, "", purpose, seed, Budget(1.0, "s"), ()), **changes), "default")


def chosen(side_by_side, jobs, idle=1, in_order=False):
    first, *waiting = jobs
    return [(each.spec.method, each.spec.seed) for each in side_by_side.companions(first, waiting, idle, in_order=in_order)]


def took(own, together=1, free=10_000.0):
    """The result of a run in a group that took so many MiB."""
    return RunResult("key", "done", system={"together": float(together), "own_memory_mib": own, "free_memory_mib": free})


SEEDS = [job(seed=seed) for seed in range(20)]


def test_on_a_cpu_a_run_is_alone_unless_the_user_says_otherwise():
    assert chosen(SideBySide(None, "cpu"), SEEDS) == []
    assert chosen(SideBySide(1, "cuda"), SEEDS) == []
    assert chosen(SideBySide(3, "cpu"), SEEDS) == [("kd", 1), ("kd", 2)]


def test_on_a_gpu_there_are_as_many_as_the_memory_of_one_allows_in_most_of_what_is_free_and_at_most_sixteen():
    side_by_side = SideBySide(None, "cuda")
    assert chosen(side_by_side, SEEDS) == [], "what a run takes is not known yet"
    side_by_side.learn(job().spec, took(2000.0))
    assert len(chosen(side_by_side, SEEDS)) == 3
    side_by_side.learn(job().spec, took(400.0, together=4))
    assert len(chosen(side_by_side, SEEDS)) == 15


def test_a_cost_profile_says_what_a_run_takes_until_a_run_does():
    side_by_side = SideBySide(None, "cuda")
    profile = ProfileSpec("digits", "kd", "", {}, (), "validated", "", "fp32", "cuda", "", 0, "", "", timed=True)
    measured = CostProfile("key", (), 0, None, 0.0, 0.0, 0, own_memory_mib=4000.0, free_memory_mib=10_000.0)
    side_by_side.learn(profile, measured)
    assert len(chosen(side_by_side, SEEDS)) == 1
    side_by_side.learn(job(seed=99).spec, took(1000.0))
    side_by_side.learn(profile, measured)
    assert len(chosen(side_by_side, SEEDS)) == 7


def test_a_number_that_memory_did_not_hold_is_not_tried_again_and_one_for_another_reason_is():
    side_by_side = SideBySide(None, "cuda")
    side_by_side.learn(job().spec, took(100.0))
    assert len(chosen(side_by_side, SEEDS)) == 15
    side_by_side.set_apart(SEEDS[0].spec)
    side_by_side.learn(SEEDS[0].spec, took(100.0))
    assert len(chosen(side_by_side, SEEDS)) == 15
    side_by_side.learn(SEEDS[1].spec, took(800.0, together=8))
    assert len(chosen(side_by_side, SEEDS)) == 7


def test_a_run_that_failed_says_nothing_of_memory():
    side_by_side = SideBySide(None, "cuda")
    side_by_side.learn(job().spec, took(100.0))
    assert len(chosen(side_by_side, SEEDS)) == 15
    side_by_side.learn(SEEDS[0].spec, RunResult("key", "error", error="why"))
    assert len(chosen(side_by_side, SEEDS)) == 15


@pytest.mark.parametrize(
    "other", [job("dkd"), job(task="grammar"), job(purpose="tune"), job(precision="bf16"), job(trains=REFERENCE), job(purpose="given")], ids=str
)
def test_what_is_of_another_method_task_or_purpose_is_not_at_its_side(other):
    assert chosen(SideBySide(8, "cuda"), [job(), other]) == []


def test_trials_of_a_method_that_are_asked_for_together_train_together():
    trials = [job(purpose="tune", params={"temperature": float(number)}) for number in range(1, 4)]
    assert len(chosen(SideBySide(8, "cuda"), trials)) == 2


def test_where_seeds_are_done_in_order_runs_of_several_methods_and_of_one_seed_train_together():
    jobs = [job(method, seed) for seed in range(2) for method in ("kd", "dkd", "crd")]
    assert chosen(SideBySide(4, "cpu"), jobs, in_order=True) == [("dkd", 0), ("crd", 0)]
    side_by_side = SideBySide(None, "cuda")
    for method, own in (("kd", 2000.0), ("dkd", 5500.0), ("crd", 3000.0)):
        side_by_side.learn(job(method).spec, took(own))
    assert chosen(side_by_side, jobs, in_order=True) == [("dkd", 0)]


def test_runs_are_shared_out_among_idle_workers():
    assert len(chosen(SideBySide(16, "cuda"), SEEDS[:6], idle=2)) == 2


def test_a_cost_profile_is_alone():
    profile = Job(ProfileSpec("digits", "kd", "", {}, (), "validated", "", "fp32", "cuda", "", 0, "", "", timed=True), "profile")
    assert SideBySide(8, "cuda").companions(profile, [profile, job()], 1, in_order=False) == []
