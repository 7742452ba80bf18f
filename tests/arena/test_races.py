"""What a command that recommends says of its time, on made-up costs."""

from types import SimpleNamespace

import pytest

from kdarena.arena import races as module
from kdarena.arena.races import Races, announcement
from kdarena.errors import UserError
from kdarena.plan.amounts import Amount
from kdarena.plan.estimate import Pace, Work
from kdarena.plan.race_plan import RaceLevel, RacePlan, race_seconds
from kdarena.plan.request import Request
from kdarena.plan.spec import PhaseCost

COSTS = {name: (PhaseCost("train", None, 1.0, 0.01, 1.0, None, 0),) for name in ("student", "kd", "a", "b", "c")}
TASK = SimpleNamespace(
    costs=lambda unit: COSTS,
    overhead=0.1,
    profiles={name: SimpleNamespace(steps_per_epoch=8) for name in COSTS},
    student_s=0.01,
    conditions=SimpleNamespace(card=SimpleNamespace(name="digits", recipe=SimpleNamespace(student_epochs=200))),
)


@pytest.fixture
def races():
    """The races of a command on one worker; what it says is in ``said``."""

    def make(**request):
        said = []
        recorder = SimpleNamespace(capacity=1, display=SimpleNamespace(say=said.append))
        made = Races(Request(**request), None, recorder, None, started=0.0)
        return SimpleNamespace(races=made, said=said)

    return make


@pytest.fixture(autouse=True)
def _no_time_passes(monkeypatch):
    monkeypatch.setattr(module.time, "monotonic", lambda: 0.0)


def test_a_race_that_fits_its_total_time_is_planned_for_all_of_it(races):
    made = races(total=600.0)
    plan = made.races._plan(TASK, 600.0)
    assert made.said == []
    assert (plan.settings, plan.seeds) == (4, 5)
    assert race_seconds(COSTS, plan.amount, RaceLevel(4, 5), 0.1) == pytest.approx(600.0, rel=0.01)


def test_a_machine_that_is_slower_than_foreseen_makes_the_shortest_race_and_a_line(races):
    made = races(total=20.0)
    plan = made.races._plan(TASK, 1.0)
    assert (plan.settings, plan.seeds, plan.amount) == (2, 3, 0.5)
    (line,) = made.said
    assert line.startswith("digits: the machine is slower than foreseen: this takes about")


def test_a_race_that_would_take_more_than_twice_the_total_is_refused_with_the_total_that_is_needed(races):
    with pytest.raises(UserError, match=r"--total 5s is too short for 5 methods on 1 task: about \d+s are needed"):
        races(total=5.0).races._plan(TASK, -1.0)


@pytest.mark.parametrize(("request_", "line"), [({"total": 8.0}, "--total 8s is too short"), ({"budget": Amount(1e5, "s")}, "give --yes to start it")])
def test_a_time_that_the_first_steps_show_to_be_wrong_is_refused_before_anything_is_trained(races, monkeypatch, request_, line):
    monkeypatch.setattr(module, "measure", lambda *arguments: [Work(35, [], Pace(8, 0.004))])
    monkeypatch.setattr(Races, "_check_declared", lambda *arguments: None)
    with pytest.raises(UserError, match=line):
        races(**request_).races._foresee([[]], [])


def test_the_plan_is_read_before_it_starts():
    lines = announcement(dict.fromkeys(COSTS), RacePlan(3e10, "flop", "3e+10flop", 4, 5))
    assert lines == [
        "5 methods with at most 4 settings each; budget of a final run 3e+10 flop",
        "rung 1: at most 20 settings, runs of 1/8 of the budget, 2 trial seeds",
        "rung 2: at most 8 settings, runs of 1/4 of the budget, 3 trial seeds",
        "rung 3: at most 8 settings, runs of 1/2 of the budget, 4 trial seeds",
        "then final runs of at most 5 methods, the controls among them, on 5 fresh seeds, which alone decide",
    ]
