"""The ladder that the user asked for, after the final runs; on made-up results."""

import random
from dataclasses import replace
from types import SimpleNamespace

import pytest

from kdarena.arena import finals
from kdarena.arena.finals import Done, climb, trials_and_finals
from kdarena.arena.method_runs import MethodRuns
from kdarena.arena.recorder import Recorder
from kdarena.board import leaderboard
from kdarena.engines.engine import Event
from kdarena.method.declaration import REFERENCE
from kdarena.method.plugin import Plugin
from kdarena.plan.allocation import Allocation
from kdarena.plan.conditions import Conditions
from kdarena.plan.entrants import Entrant
from kdarena.plan.ladder import LEADERS, Ladder
from kdarena.plan.machine import Machine
from kdarena.plan.spec import PhaseCost, RunResult
from kdarena.record.mlflow import MlflowCopy
from kdarena.record.runs import Record
from kdarena.tracks import find_card

DIGITS = find_card("digits")
AMOUNT = 10.0
LADDER = Ladder((0.5, 2.0))
COSTS = (PhaseCost("train", None, 1.0, 0.01, 1.0, 0.005, 1000),)
SCORES = {"student": 90.0, "kd": 91.0}


class MadeUpWorker:
    """Gives a method the score that it was made with, or 50."""

    capacity = 1

    def __init__(self, scores):
        self.scores, self.submitted = scores, []

    def submit(self, spec):
        self.submitted.append(spec)

    def wait(self, seconds):
        spec = self.submitted[-1]
        score = self.scores.get(spec.method, 50.0) + random.Random(f"{spec.method} {spec.seed}").uniform(-0.5, 0.5)
        metrics = {f"{part}/top1": score for part in ("validation", "test")}
        return [Event(spec, RunResult(spec.key, "done", metrics, committed=spec.budget.amount, spent_s=spec.budget.amount))]


class Display:
    def __init__(self):
        self.said, self.expected = [], 0
        self.started = self.progress = self.finished = lambda *_: None

    def say(self, text):
        self.said.append(text)

    def expect(self, jobs):
        self.expected += jobs


@pytest.fixture
def recorder(tmp_path, monkeypatch):
    """Makes a recorder over a worker that scores methods so."""
    monkeypatch.setattr(MlflowCopy, "write_missing", lambda copy, seconds=0.0: 0)
    opened = []

    def make(**scores):
        opened.append(Record.open(tmp_path / "out"))
        return Recorder(opened[-1], SimpleNamespace(), MadeUpWorker({**SCORES, **scores}), Display(), tmp_path)

    yield make
    for record in opened:
        record.close()


@pytest.fixture
def runs_of(synthetic):
    """The runs of a made-up method."""

    def make(name, costs=COSTS, charged=0.0):
        plugin = Plugin(name, method=synthetic.method(name))
        conditions = Conditions(DIGITS, Machine("cpu", ("cpu",), 1, False), "fp32", "data", "validated")
        allocation = Allocation(AMOUNT - charged, "s", 3, 0.0, "10s")
        entrant = Entrant(plugin, {}, {}, ())
        return MethodRuns(entrant, conditions, {REFERENCE: "0" * 16}, costs, allocation, AMOUNT, 0.5)

    return make


def climbed(recorder, running, ladder=LADDER, end=None):
    """What was trained along the ladder, after all final runs: method, setting and seed."""
    done = trials_and_finals(recorder, running, "digits", end)
    before = len(recorder.engine.submitted)
    assert {spec.purpose for spec in recorder.engine.submitted} <= {"final", "control"}
    climb(recorder, ladder, running, done, DIGITS, end)
    by_key = {run.key: run for run in recorder.record.runs()}
    return [(spec.method, by_key[spec.key].setting, spec.seed) for spec in recorder.engine.submitted[before:]]


def test_methods_that_were_named_climb_the_ladder_with_the_seeds_of_their_final_runs(recorder, runs_of):
    one = recorder()
    found = climbed(one, [runs_of("student"), runs_of("kd")])
    # the student has half the budget anyway
    assert sorted(found) == sorted(
        [("student", "ladder:2", seed) for seed in range(3)] + [("kd", setting, seed) for setting in ("ladder:0.5", "ladder:2") for seed in range(3)]
    )
    assert one.display.said == ["digits: ladder of 0.5, 2 budgets: 12 runs of student, kd"]
    assert one.display.expected == 12


def test_without_a_ladder_nothing_is_trained_or_said(recorder, runs_of):
    one = recorder()
    assert climbed(one, [runs_of("student"), runs_of("kd")], Ladder()) == []
    assert one.display.said == []


def test_where_no_method_is_named_the_controls_and_the_leading_group_climb(recorder, runs_of, monkeypatch):
    one = recorder(a=80.0, b=95.0, c=70.0)
    running = [runs_of(name) for name in ("student", "kd", "a", "b", "c")]
    assert {name for name, *_ in climbed(one, running, Ladder((2.0,), 7))} == {"student", "kd", "b"}


def test_the_leading_group_is_that_of_the_rank_intervals_and_the_best_of_a_large_one_climb(recorder, runs_of, monkeypatch):
    names = [f"m{number}" for number in range(LEADERS + 2)]
    one = recorder(**{name: 80.0 - number for number, name in enumerate(names)}, last=10.0)
    made = leaderboard.leaderboard_frame

    def with_intervals(*arguments, **settings):
        frame = made(*arguments, **settings)
        return frame.assign(rank_low=[2 if method == "last" else 1 for method in frame["method"]])

    monkeypatch.setattr(leaderboard, "leaderboard_frame", with_intervals)
    found = climbed(one, [runs_of(name) for name in ("student", "kd", "last", *names)], Ladder((2.0,), 7))
    assert {name for name, *_ in found} == {"student", "kd", *names[:LEADERS]}
    assert one.display.said[1] == "digits: 2 more of the leading group are left out of it (m5, m6): name methods with --plugins"


def test_a_rung_that_holds_no_step_is_left_out_with_a_line(recorder, runs_of):
    fitting = (PhaseCost("fit", 600, 1.0, 0.01, 1.0, 0.005, 1000), PhaseCost("train", None, 1.0, 0.01, 1.0, 0.005, 1000))
    one = recorder()
    found = climbed(one, [runs_of("student"), runs_of("fit", fitting)])
    assert [entry for entry in found if entry[0] == "fit"] == [("fit", "ladder:2", seed) for seed in range(3)]
    assert one.display.said[-1] == "digits: fit: the lowest rungs hold none of their steps and are left out"


def test_charged_teachers_are_paid_from_every_rung(runs_of):
    (rung,) = runs_of("kd", charged=4.0).rungs(None, (0.5,), [0])
    assert rung.spec.budget.amount == pytest.approx(0.5 * AMOUNT - 4.0)
    assert runs_of("kd", charged=6.0).rungs(None, (0.5,), [0]) == []


def test_where_time_runs_out_in_the_final_runs_the_ladder_has_their_seeds(recorder, runs_of):
    one = recorder()
    running = [replace(runs, allocation=replace(runs.allocation, seeds=5)) for runs in (runs_of("student"), runs_of("kd"))]
    found = climbed(one, running, Ladder((2.0,)), end=0.0)
    assert {seed for *_, seed in found} == {0, 1, 2}
    assert "the time ran out" in one.display.said[0]


def test_a_repeated_ladder_trains_nothing(recorder, runs_of):
    one = recorder()
    running = [runs_of("student"), runs_of("kd")]
    climbed(one, running)
    done = Done({"student": None, "kd": None}, range(3))
    count = len(one.engine.submitted)
    finals.climb(one, LADDER, running, done, DIGITS, None)
    assert len(one.engine.submitted) == count
