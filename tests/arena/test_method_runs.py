"""A method's trials and final runs under commands that are killed, on made-up results."""

import random
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest

from kdarena import Float, Params
from kdarena.arena.method_runs import MethodRuns, work
from kdarena.arena.recorder import Recorder
from kdarena.arena.trials import Candidate
from kdarena.engines.engine import Event
from kdarena.method.declaration import REFERENCE
from kdarena.method.plugin import Plugin
from kdarena.plan.allocation import LADDER, Allocation
from kdarena.plan.conditions import Conditions
from kdarena.plan.entrants import Entrant
from kdarena.plan.machine import Machine
from kdarena.plan.spec import PhaseCost, RunResult
from kdarena.record.mlflow import MlflowCopy
from kdarena.record.runs import Record
from kdarena.tracks import find_card

TRIALS = 10
DISPLAY = SimpleNamespace(started=lambda job: None, progress=lambda spec, fraction: None, finished=lambda job, result: None)


@dataclass(frozen=True)
class TunedParams(Params):
    temperature: float = Float(4.0, 1.0, 10.0, log=True, source="paper")


class Killed(BaseException):
    """The command was killed."""


class MadeUpWorker:
    """Scores each setting as it likes, the same each time; a trial below its rule's threshold is pruned.

    Args:
        out_of_memory: numbers of the runs that fail.
    """

    capacity = 1

    def __init__(self, out_of_memory=()):
        self.out_of_memory, self.submitted = out_of_memory, []

    def submit(self, spec):
        self.submitted.append(spec)

    def wait(self, seconds):
        spec = self.submitted[-1]
        if len(self.submitted) - 1 in self.out_of_memory:
            return [Event(spec, RunResult(spec.key, "oom", error="not enough memory"))]
        draw = random.Random(repr((spec.params, spec.recipe)))
        rung, score = draw.uniform(10, 90), draw.uniform(10, 90)
        if not spec.params and not spec.recipe:
            score = 5.0  # the defaults do not win
        curves = {"train/ce": [(1, 2.0)], "validation/top1": [(2, rung)]}
        if spec.prune is not None and rung < spec.prune.threshold:
            return [Event(spec, RunResult(spec.key, "pruned", {}, curves, committed=spec.budget.amount / 2))]
        return [Event(spec, RunResult(spec.key, "done", {"validation/top1": score}, curves, committed=spec.budget.amount))]


@pytest.fixture(autouse=True)
def _without_mlflow(monkeypatch):
    monkeypatch.setattr(MlflowCopy, "write_missing", lambda copy, seconds=0.0: 0)


@pytest.fixture
def runs(synthetic):
    plugin = Plugin("m", method=synthetic.method("m", Params=TunedParams))
    conditions = Conditions(find_card("digits"), Machine("cpu", ("cpu",), 1, False), "fp32", "data", "validated")
    costs = (PhaseCost("train", None, 1.0, 0.01, 1.0, 0.005, 1000),)
    allocation = Allocation(60.0, "s", 2, TRIALS * 30.0, "60s")
    return MethodRuns(Entrant(plugin, {}, {}, (REFERENCE,)), conditions, {REFERENCE: "0" * 16}, costs, allocation, 60.0, 0.5)


@pytest.fixture
def student(runs, synthetic):
    """The plain student, with two seeds of 301 steps."""
    plugin = Plugin("student", method=synthetic.method("student", Params=TunedParams))
    return replace(runs, entrant=replace(runs.entrant, plugin=plugin, teachers=()), allocation=replace(runs.allocation, amount=3.01))


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
    """The runs of a command that nothing disturbed; the pruner has a say in them, and the defaults do not win."""
    asked = command(tmp_path / "undisturbed", runs, MadeUpWorker())
    assert any(spec.prune is not None for spec in asked)
    assert [bool({**spec.params, **spec.recipe}) for spec in asked[-4:]] == [False, False, True, True]
    return asked


def test_a_command_killed_once_right_after_any_record_asks_for_the_same_runs(undisturbed, runs, tmp_path):
    for number in range(1, len(undisturbed)):
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
    assert command(tmp_path / "out", runs, MadeUpWorker(out_of_memory=(1, 5))) != undisturbed
    assert command(tmp_path / "out", runs, MadeUpWorker()) == undisturbed


def test_of_recalled_runs_the_trials_curves_alone_are_read_and_once(undisturbed, runs, tmp_path, monkeypatch):
    read, curves = [], Record.curves
    monkeypatch.setattr(Record, "curves", lambda record, run_id: read.append(run_id) or curves(record, run_id))
    command(tmp_path / "undisturbed", runs, MadeUpWorker())
    trials = [run.run_id for run in Record.open(tmp_path / "undisturbed", create=False).runs() if run.spec.purpose == "tune"]
    assert read == trials


# the ladder
def rungs_of(jobs):
    return [job for job in jobs if job.spec.purpose == "control"]


def test_the_student_climbs_a_ladder_of_whole_steps_below_its_final_runs(student):
    rungs = rungs_of(student.final_jobs(None))
    assert [(job.setting, job.spec.seed) for job in rungs] == [(f"ladder:{share}", seed) for share in (0.0625, 0.125, 0.25, 0.5) for seed in (0, 1)]
    assert [round(job.spec.budget.amount / 0.01, 9) for job in rungs[::2]] == [19, 38, 75, 150]


def test_each_setting_that_has_final_runs_has_a_ladder(student):
    jobs = student.final_jobs(Candidate({"temperature": 2.0}, {"lr": 0.2}))
    settings = {(tuple(job.spec.params.items()), tuple(job.spec.recipe.items())) for job in jobs if job.spec.purpose == "final"}
    rungs = rungs_of(jobs)
    assert len(rungs) == 2 * 2 * len(LADDER)
    assert {(tuple(job.spec.params.items()), tuple(job.spec.recipe.items())) for job in rungs} == settings
    assert len(settings) == 2


def test_no_other_method_climbs_a_ladder(runs):
    assert rungs_of(runs.final_jobs(None)) == []
