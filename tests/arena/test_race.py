"""A race under commands that are killed or have too little time, on made-up results."""

import os
import random
import time
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest

from kdarena import Float, Params
from kdarena.arena.method_runs import MethodRuns
from kdarena.arena.race import Pace, Race
from kdarena.arena.recorder import Recorder
from kdarena.arena.trials import Search
from kdarena.engines.engine import Event
from kdarena.method.declaration import REFERENCE
from kdarena.method.plugin import Plugin
from kdarena.plan.conditions import Conditions
from kdarena.plan.entrants import Entrant
from kdarena.plan.machine import Machine
from kdarena.plan.race_plan import RacePlan
from kdarena.plan.racing import FINALISTS
from kdarena.plan.spec import PhaseCost, RunResult
from kdarena.record.mlflow import MlflowCopy
from kdarena.record.runs import Record
from kdarena.record.store import Store
from kdarena.tracks import find_card

METHODS = ("student", "kd", "a", "b", "c", "d", "e", "f")
PLAN = RacePlan(60.0, "s", "60s", 2, 4)
OVERHEAD = 0.1


@dataclass(frozen=True)
class TunedParams(Params):
    temperature: float = Float(4.0, 1.0, 10.0, log=True, source="paper")


class Killed(BaseException):
    """The command was killed."""


class MadeUpWorker:
    """Scores every run at once, the same each time; methods are the better the later they come in the alphabet, and the controls are the worst.

    Args:
        apart: points between one method and the next; seeds differ by up to 8.
        failing: names of methods whose runs fail.
        seconds: that each run takes.
    """

    capacity = 1

    def __init__(self, apart=4.0, failing=(), seconds=0.0):
        self.apart, self.failing, self.seconds, self.submitted = apart, failing, seconds, []

    def submit(self, spec):
        self.submitted.append(spec)

    def wait(self, seconds):
        spec = self.submitted[-1]
        time.sleep(self.seconds)
        if spec.method in self.failing:
            return [Event(spec, RunResult(spec.key, "error", error="it can't"))]
        score = self.apart * METHODS.index(spec.method) + random.Random(repr((spec.method, spec.params, spec.recipe, spec.seed, spec.budget))).uniform(0, 8)
        return [
            Event(spec, RunResult(spec.key, "done", {"validation/top1": score, "test/top1": score}, committed=spec.budget.amount, spent_s=spec.budget.amount))
        ]


SPREAD, KNOWN = Search.spread, {}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Without MLflow, without waiting for the disk, and with each method's settings drawn once."""

    def spread(search, count):
        if (search.name, count) not in KNOWN:
            KNOWN[search.name, count] = SPREAD(search, count)
        return KNOWN[search.name, count]

    monkeypatch.setattr(MlflowCopy, "write_missing", lambda copy, seconds=0.0: 0)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(Search, "spread", spread)


@pytest.fixture
def command(tmp_path, synthetic):
    """Does a race in a directory of this test; returns all runs that it asked for, recorded ones too."""

    def race(worker=None, *, methods=METHODS, plan=PLAN, directory="out", kill_after=None, end=None, look=lambda: None):
        conditions = Conditions(find_card("digits"), Machine("cpu", ("cpu",), 1, False), "fp32", "data", "validated")
        costs = (PhaseCost("train", None, 1.0, 0.01, 1.0, 0.005, 1000),)
        runs = {}
        for name in methods:
            plugin = Plugin(name, method=synthetic.method(name, Params=TunedParams))
            runs[name] = MethodRuns(Entrant(plugin, {}, {}, (REFERENCE,)), conditions, {REFERENCE: "0" * 16}, costs, plan.allocation, plan.amount, 0.5)
        said = []
        display = SimpleNamespace(
            say=said.append, expect=lambda jobs: None, started=lambda job: None, progress=lambda spec, fraction: None, finished=lambda job, result: None
        )
        with Record.open(tmp_path / directory) as record:
            recorder = Recorder(record, Store(tmp_path / directory), worker or MadeUpWorker(), display, tmp_path)
            log, left = record.log, [kill_after]

            def killed(*arguments, **facts):
                log(*arguments, **facts)
                if left[0] is not None:
                    left[0] -= 1
                    if left[0] <= 0:
                        raise Killed

            recorder.record = SimpleNamespace(log=killed, checkpoints=record.checkpoints)
            pace = Pace(end, OVERHEAD, 1) if end is not None else None
            Race(runs, plan, recorder, "key", look, pace).run()
            asked = [run for run in record.runs() if run.key in recorder.asked]
        return SimpleNamespace(asked=asked, said=said, trained=recorder.trained)

    return race


def finals(done):
    return {(run.spec.method, run.setting, run.spec.seed) for run in done.asked if run.spec.purpose == "final"}


def test_the_controls_are_in_every_rung_and_in_the_final_though_they_are_the_worst(command):
    done = command()
    for setting in ("rung:0.125", "rung:0.25", "rung:0.5"):
        assert {"student", "kd"} <= {run.spec.method for run in done.asked if run.setting == setting}
    assert {"student", "kd"} <= {method for method, _, _ in finals(done)}


def test_the_best_methods_get_final_runs_and_the_others_none(command):
    methods = {method for method, _, _ in finals(command())} - {"student", "kd"}
    assert "f" in methods and "a" not in methods and len(methods) <= FINALISTS


def test_no_final_run_has_a_seed_of_the_race(command):
    done = command()
    racing = {run.spec.seed for run in done.asked if run.spec.purpose == "tune"}
    fresh = {run.spec.seed for run in done.asked if run.spec.purpose == "final"}
    assert fresh == {0, 1, 2, 3}
    assert not racing & fresh


def test_each_rung_has_its_own_seeds_and_the_same_for_all_of_its_settings(command):
    seeds = {}
    for run in command().asked:
        if run.spec.purpose == "tune":
            seeds.setdefault(run.setting, {}).setdefault((run.spec.method, repr(run.spec.params), repr(run.spec.recipe)), set()).add(run.spec.seed)
    every = []
    for by_setting in seeds.values():
        (same,) = {frozenset(of_setting) for of_setting in by_setting.values()}
        every += same
    assert len(every) == len(set(every))


def test_a_second_command_trains_nothing(command):
    first, second = command(), command()
    assert first.trained > 0 and second.trained == 0
    assert [run.key for run in second.asked] == [run.key for run in first.asked]


@pytest.mark.parametrize("kill_after", [1, 20, 45, 60])
def test_a_race_that_was_killed_goes_on_as_if_it_had_not_been(command, kill_after):
    undisturbed = command(directory="undisturbed")
    with pytest.raises(Killed):
        command(kill_after=kill_after)
    resumed = command()
    assert resumed.trained == undisturbed.trained - kill_after
    assert {(run.key, run.setting) for run in resumed.asked} == {(run.key, run.setting) for run in undisturbed.asked}


def test_who_went_on_for_want_of_time_is_not_decided_anew(command):
    short = command(end=time.monotonic() + 1.0)
    longer = command(end=time.monotonic() + 1e6)
    assert {run.key for run in longer.asked if run.spec.purpose == "tune"} == {run.key for run in short.asked if run.spec.purpose == "tune"}
    assert {method for method, _, _ in finals(longer)} == {method for method, _, _ in finals(short)}


def test_a_rung_that_takes_too_long_has_fewer_seeds_and_a_repeated_command_the_same(command):
    short = command(MadeUpWorker(seconds=0.002), end=time.monotonic() + 0.01)
    again = command(end=time.monotonic() + 1e6)
    for done in (short, again):
        assert len({run.spec.seed for run in done.asked if run.setting == "rung:0.125"}) == 1


def test_where_the_time_is_too_short_the_best_and_the_controls_get_three_seeds(command):
    done = command(MadeUpWorker(seconds=0.002), end=time.monotonic() + 0.01)
    assert {method for method, _, _ in finals(done)} == {"student", "kd", "f"}
    assert {seed for _, _, seed in finals(done)} == {0, 1, 2}
    assert any("the time is too short for a further rung" in line for line in done.said)
    assert any("the time ran out: 3 of 4 fresh seeds are done" in line for line in done.said)


def test_seeds_end_where_further_ones_would_change_nothing(command):
    done = command(look=lambda: "f is established")
    assert {seed for _, _, seed in finals(done)} == {0, 1, 2}
    assert done.said[-1] == "digits: 3 of 4 fresh seeds are enough: f is established"


def test_a_method_whose_runs_fail_is_out_after_the_first_rung(command):
    done = command(MadeUpWorker(failing=("f",)))
    assert {run.setting for run in done.asked if run.spec.method == "f"} == {"rung:0.125"}
    assert "e" in {method for method, _, _ in finals(done)}


def test_where_everything_fails_only_the_controls_are_tried_to_the_end(command):
    done = command(MadeUpWorker(failing=METHODS))
    assert {method for method, _, _ in finals(done)} == {"student", "kd"}


def test_a_race_ends_before_its_last_rung_where_one_method_is_clearly_ahead(command):
    done = command(MadeUpWorker(apart=12.0))
    assert {run.setting for run in done.asked if run.spec.purpose == "tune"} == {"rung:0.125", "rung:0.25"}
    assert {method for method, _, _ in finals(done)} == {"student", "kd", "f"}
    assert any("one method is clearly ahead of all others" in line for line in done.said)


def test_where_no_other_method_applies_the_student_is_trained_alone(command):
    assert {method for method, _, _ in finals(command(methods=("student",)))} == {"student"}


def test_with_the_controls_alone_their_settings_race(command):
    done = command(methods=("student", "kd"), plan=replace(PLAN, settings=3))
    assert {method for method, _, _ in finals(done)} == {"student", "kd"}
    assert len({repr((run.spec.params, run.spec.recipe)) for run in done.asked if run.spec.method == "kd"}) == 3


def test_a_final_of_the_defaults_is_named_so_and_any_other_as_tuned(command):
    for run in command().asked:
        if run.spec.purpose == "final":
            assert run.setting == ("tuned" if run.spec.params or run.spec.recipe else "default")


def test_trials_of_a_race_belong_to_the_row_that_they_chose_the_setting_of(command):
    from kdarena.board.leaderboard import leaderboard_frame

    done = command()
    rows = {row["method"]: row for row in leaderboard_frame(done.asked, {}).to_dict("records")}
    assert len(rows) == len({method for method, _, _ in finals(done)}), "a row a method"
    assert rows["f"]["tuning_s"] == pytest.approx(sum(run.result.spent_s for run in done.asked if (run.spec.method, run.spec.purpose) == ("f", "tune")))
    assert rows["f"]["tried"] == 2
