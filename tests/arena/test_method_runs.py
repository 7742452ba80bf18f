"""A method's trials and final runs under commands that are killed, on made-up results."""

import random
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest

from kdarena import Float, Params
from kdarena.arena.method_runs import MethodRuns, Tuned, work
from kdarena.arena.recorder import Recorder
from kdarena.arena.trials import Candidate
from kdarena.engines.engine import Event
from kdarena.method.declaration import REFERENCE
from kdarena.method.plugin import Plugin
from kdarena.plan.allocation import LADDER, Allocation
from kdarena.plan.conditions import Conditions
from kdarena.plan.entrants import Entrant
from kdarena.plan.machine import Machine
from kdarena.plan.spec import FILLING, PhaseCost, RunResult
from kdarena.plan.specs import TRIAL_SEED
from kdarena.plan.stored import StoredCosts
from kdarena.record.mlflow import MlflowCopy
from kdarena.record.runs import Record
from kdarena.tracks import find_card

AMOUNT = 60.0
DISPLAY = SimpleNamespace(say=print, started=lambda job: None, progress=lambda spec, fraction: None, finished=lambda job, result: None)


@dataclass(frozen=True)
class TunedParams(Params):
    temperature: float = Float(4.0, 1.0, 10.0, log=True, source="paper")


class Killed(BaseException):
    """The command was killed."""


class MadeUpWorker:
    """Scores each setting as it likes, the same each time; the defaults do not win.

    Args:
        score: of a spec on validation, or None where its run diverges.
        out_of_memory: numbers of the runs that fail.
    """

    capacity = 1

    def __init__(self, score=None, out_of_memory=()):
        self.score, self.out_of_memory, self.submitted = score or self._any, out_of_memory, []

    def submit(self, spec):
        self.submitted.append(spec)

    def wait(self, seconds):
        spec = self.submitted[-1]
        if len(self.submitted) - 1 in self.out_of_memory:
            return [Event(spec, RunResult(spec.key, "oom", error="not enough memory"))]
        score = self.score(spec)
        if score is None:
            return [Event(spec, RunResult(spec.key, "diverged", error="step 7: term 'ce' is nan"))]
        return [Event(spec, RunResult(spec.key, "done", {"validation/top1": score}, {"train/ce": [(1, 2.0)]}, committed=spec.budget.amount))]

    @staticmethod
    def _any(spec):
        return 5.0 if is_default(spec) else random.Random(repr((spec.params, spec.recipe))).uniform(10, 90)


def is_default(spec):
    return not spec.params and not spec.recipe


@pytest.fixture(autouse=True)
def _without_mlflow(monkeypatch):
    monkeypatch.setattr(MlflowCopy, "write_missing", lambda copy, seconds=0.0: 0)


@pytest.fixture
def make_runs(synthetic):
    """The runs of a made-up method whose step costs 0.01 s, in so many seconds of tuning."""

    def make(tuning=1.5 * AMOUNT, step=0.01, **changes):
        plugin = Plugin("m", method=synthetic.method("m", Params=TunedParams))
        conditions = Conditions(find_card("digits"), Machine("cpu", ("cpu",), 1, False), "fp32", "data", "validated")
        costs = (PhaseCost("train", None, 1.0, step, 1.0, 0.005, 1000),)
        allocation = Allocation(AMOUNT, "s", 2, tuning, "60s")
        entrant = replace(Entrant(plugin, {}, {}, (REFERENCE,)), **changes.pop("entrant", {}))
        return MethodRuns(entrant, conditions, {REFERENCE: "0" * 16}, costs, allocation, AMOUNT, 0.5, **changes)

    return make


@pytest.fixture(params=[1.5, 4.0], ids=["spread", "guided"])
def runs(request, make_runs):
    return make_runs(request.param * AMOUNT)


@pytest.fixture
def student(make_runs, synthetic):
    """The plain student, with two seeds of 301 steps."""
    plugin = Plugin("student", method=synthetic.method("student", Params=TunedParams))
    runs = make_runs(entrant={"plugin": plugin, "teachers": ()})
    return replace(runs, board_budget=3.01, allocation=replace(runs.allocation, amount=3.01))


def specs_of(runs, worker):
    """All runs of a method, as a worker that records nothing does them, and the jobs of the finals."""
    one, asked = work(runs), []
    jobs = next(one)
    while True:
        asked += [job.spec for job in jobs]
        results = []
        for job in jobs:
            worker.submit(job.spec)
            results += [event.result for event in worker.wait(0)]
        try:
            jobs = one.send(results)
        except StopIteration:
            return asked, jobs


def watched(one, asked):
    """The work ``one``; the specs of all that it asks for are added to ``asked``."""
    jobs = next(one)
    while True:
        asked.extend(job.spec for job in jobs)
        results = yield jobs
        try:
            jobs = one.send(results)
        except StopIteration:
            return


def command(directory, runs, worker, kill_after=None):
    """All runs that a command asks for, recorded ones too. It may be killed as soon as so many new ones are recorded."""
    asked = []
    with Record.open(directory) as record:
        recorder = Recorder(record, SimpleNamespace(), worker, DISPLAY, directory)
        log, left = record.log, [kill_after]

        def log_and_die(*arguments, **settings):
            log(*arguments, **settings)
            if left[0] is not None:
                left[0] -= 1
                if left[0] == 0:
                    raise Killed

        record.log = log_and_die
        recorder.schedule([watched(work(runs), asked)])
    return asked


def killed(directory, runs, after):
    with pytest.raises(Killed):
        command(directory, runs, MadeUpWorker(), kill_after=after)


@pytest.fixture
def undisturbed(runs, tmp_path):
    """The runs of a command that nothing disturbed, in which the defaults do not win."""
    asked = command(tmp_path / "undisturbed", runs, MadeUpWorker())
    assert [is_default(spec) for spec in asked[-2:]] == [False, False]
    return asked


def test_six_candidates_get_an_eighth_on_one_seed_and_the_best_and_the_defaults_meet_on_three_fresh_ones(make_runs):
    asked, finals = specs_of(make_runs(), MadeUpWorker())
    trials = [spec for spec in asked if spec.purpose == "tune"]
    first, second = trials[:6], trials[6:]
    assert [spec.seed for spec in first] == [TRIAL_SEED] * 6
    assert [is_default(spec) for spec in first] == [True, *[False] * 5]
    assert {spec.budget.amount for spec in trials} == {AMOUNT / 8}
    assert sorted(spec.seed for spec in second) == sorted([TRIAL_SEED + 1, TRIAL_SEED + 2, TRIAL_SEED + 3] * 2)
    best = max(first, key=MadeUpWorker._any)
    assert {repr(spec.params) for spec in second} == {"{}", repr(best.params)}
    assert sum(spec.budget.amount for spec in trials) == 1.5 * AMOUNT
    assert [(job.setting, job.spec.params, job.spec.seed) for job in finals] == [("tuned", best.params, seed) for seed in range(2)]


@pytest.mark.parametrize("score", [lambda spec: 90.0 if is_default(spec) else 50.0, lambda spec: 50.0], ids=["better", "equal"])
def test_defaults_that_are_as_good_as_the_best_other_get_the_only_finals(make_runs, score):
    _, finals = specs_of(make_runs(), MadeUpWorker(score))
    assert [(job.setting, job.spec.params) for job in finals] == [("default", {})] * 2


def test_defaults_that_are_best_in_stage_one_still_meet_the_best_other_on_fresh_seeds(make_runs):
    asked, finals = specs_of(make_runs(), MadeUpWorker(lambda spec: 90.0 if is_default(spec) == (spec.seed == TRIAL_SEED) else 50.0))
    assert len([spec for spec in asked if spec.purpose == "tune"]) == 12
    assert {job.setting for job in finals} == {"tuned"}


def test_a_candidate_that_diverges_counts_as_worst_and_where_all_others_do_the_defaults_stay(make_runs):
    asked, finals = specs_of(make_runs(), MadeUpWorker(lambda spec: 5.0 if is_default(spec) else None))
    assert len([spec for spec in asked if spec.purpose == "tune"]) == 6
    assert {job.setting for job in finals} == {"default"}
    _, finals = specs_of(make_runs(), MadeUpWorker(lambda spec: 5.0 if is_default(spec) or spec.seed == TRIAL_SEED else None))
    assert {job.setting for job in finals} == {"default"}


@pytest.mark.parametrize("seed", [TRIAL_SEED, TRIAL_SEED + 2])
def test_where_the_defaults_diverge_in_a_trial_that_counts_the_best_other_wins(make_runs, seed):
    worker = MadeUpWorker(lambda spec: None if is_default(spec) and spec.seed >= seed else 50.0 if is_default(spec) else 10.0)
    assert {job.setting for job in specs_of(make_runs(), worker)[1]} == {"tuned"}


def test_with_both_the_defaults_and_the_best_other_get_finals_whichever_won_the_trials(make_runs):
    for score in (None, lambda spec: 90.0 if is_default(spec) else 50.0):
        _, finals = specs_of(make_runs(both=True), MadeUpWorker(score))
        assert [job.setting for job in finals] == ["default"] * 2 + ["tuned"] * 2


def test_with_a_larger_tuning_budget_candidates_follow_from_the_scores_before_them(make_runs):
    better, worse = (
        [spec.params for spec in specs_of(make_runs(4 * AMOUNT), MadeUpWorker(lambda spec, sign=sign: sign * spec.params.get("temperature", 4.0)))[0]]
        for sign in (1, -1)
    )
    assert better[:8] == worse[:8]
    assert better[10:26] != worse[10:26]
    spread = [[spec.params for spec in specs_of(make_runs(), MadeUpWorker(lambda spec, sign=sign: sign * len(spec.params)))[0]][:6] for sign in (1, -1)]
    assert spread[0] == spread[1]


def test_of_two_trials_the_better_wins_and_an_expensive_method_that_cant_have_them_says_so(make_runs):
    cheap, expensive = make_runs(step=0.9), make_runs(step=1.0)  # 50 steps are 45 s and 50 s, the tuning budget is 90 s
    asked, finals = specs_of(cheap, MadeUpWorker())
    assert [(spec.seed, is_default(spec), spec.budget.amount) for spec in asked if spec.purpose == "tune"] == [
        (TRIAL_SEED, True, 45.0),
        (TRIAL_SEED, False, 45.0),
    ]
    assert {job.setting for job in finals} == {"tuned"}
    asked, finals = specs_of(expensive, MadeUpWorker())
    assert {spec.purpose for spec in asked} == {"final"}
    assert {(job.setting, job.facts["untuned"]) for job in finals} == {("default", "not tuned: 1.5 budgets hold no two trials of 50 steps")}


def test_a_method_of_which_all_is_fixed_is_not_tuned_and_says_so(make_runs):
    fixed = {"params": {"temperature": 2.0}, "recipe": {"lr": 0.1, "weight_decay": 0.1}}
    asked, finals = specs_of(make_runs(entrant=fixed), MadeUpWorker())
    assert len(asked) == 2
    assert {job.facts["untuned"] for job in finals} == {"not tuned: all that could be tuned is fixed"}


def test_where_nothing_is_tuned_no_row_says_why(make_runs):
    asked, finals = specs_of(make_runs(tuning=0.0), MadeUpWorker())
    assert len(asked) == 2
    assert all("untuned" not in job.facts for job in finals)


def test_a_trial_that_diverged_is_no_failure_of_the_command_and_one_that_failed_otherwise_is(make_runs, tmp_path):
    with Record.open(tmp_path / "out") as record:
        recorder = Recorder(record, SimpleNamespace(), MadeUpWorker(lambda spec: 5.0 if is_default(spec) else None), DISPLAY, tmp_path)
        recorder.schedule([work(make_runs())])
        assert recorder.failures == {}
    with Record.open(tmp_path / "other") as record:
        recorder = Recorder(record, SimpleNamespace(), MadeUpWorker(out_of_memory=(2,)), DISPLAY, tmp_path)
        recorder.schedule([work(make_runs())])
        assert len(recorder.failures) == 1


def test_a_command_killed_once_right_after_any_record_asks_for_the_same_runs(undisturbed, runs, tmp_path):
    for number in range(1, len(undisturbed), 1 if len(undisturbed) < 20 else 9):
        killed(tmp_path / str(number), runs, after=number)
        worker = MadeUpWorker()
        assert command(tmp_path / str(number), runs, worker) == undisturbed
        assert len(worker.submitted) == len(undisturbed) - number


def test_a_command_killed_right_after_each_of_its_records_asks_for_the_same_runs(undisturbed, runs, tmp_path):
    for _ in undisturbed:
        killed(tmp_path / "out", runs, after=1)
    worker = MadeUpWorker()
    assert command(tmp_path / "out", runs, worker) == undisturbed
    assert worker.submitted == []


def test_a_trial_that_failed_and_is_done_the_next_time_leaves_no_trace(undisturbed, runs, tmp_path):
    best = max(range(1, 6), key=lambda number: MadeUpWorker._any(undisturbed[number]))
    assert command(tmp_path / "out", runs, MadeUpWorker(out_of_memory=(best,))) != undisturbed or len(undisturbed) > 20
    assert command(tmp_path / "out", runs, MadeUpWorker()) == undisturbed


# the ladder
def rungs_of(jobs):
    return [job for job in jobs if job.spec.purpose == "control"]


def test_the_student_climbs_a_ladder_of_whole_steps_below_its_final_runs(student):
    rungs = rungs_of(student.final_jobs(None))
    assert [(job.setting, job.spec.seed) for job in rungs] == [(f"ladder:{share}", seed) for share in (0.0625, 0.125, 0.25, 0.5) for seed in (0, 1)]
    assert [round(job.spec.budget.amount / 0.01, 9) for job in rungs[::2]] == [19, 38, 75, 150]


@pytest.mark.parametrize(("better", "both", "count"), [(True, False, 1), (False, False, 1), (False, True, 2)])
def test_each_setting_that_has_final_runs_has_a_ladder(student, better, both, count):
    jobs = replace(student, both=both).final_jobs(Tuned(Candidate({"temperature": 2.0}, {"lr": 0.2}), better))
    settings = {(tuple(job.spec.params.items()), tuple(job.spec.recipe.items())) for job in jobs if job.spec.purpose == "final"}
    rungs = rungs_of(jobs)
    assert len(rungs) == 2 * count * len(LADDER)
    assert {(tuple(job.spec.params.items()), tuple(job.spec.recipe.items())) for job in rungs} == settings
    assert len(settings) == count


def test_no_other_method_climbs_a_ladder(runs):
    assert rungs_of(runs.final_jobs(None)) == []


def test_each_run_has_the_costs_that_buy_its_budget_more_steps(make_runs):
    live = (PhaseCost("train", None, 1.0, 0.1, 2.0, 0.01, 200),)
    stored = StoredCosts((PhaseCost(FILLING, 100, 1.0, 0.05, 1.0, 0.01, 100), PhaseCost("train", None, 1.0, 0.05, 1.0, 0.01, 100)), (("logits",),))
    runs = replace(make_runs(), costs=live, stored=stored)
    (final, *_), trial = runs.final_jobs(None), runs.trial(Candidate({}, {}))
    assert (final.spec.costs, final.spec.stored) == (stored.costs, stored.parts)
    assert (trial.spec.budget.amount, trial.spec.costs, trial.spec.stored) == (7.5, live, ())
    assert [(job.spec.budget.amount > 10, bool(job.spec.stored)) for job in runs.rungs(None, (0.125, 0.5), [0])] == [(False, False), (True, True)]
