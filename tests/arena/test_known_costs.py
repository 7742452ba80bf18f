"""What is known of the costs of steps on a device before anything is measured there."""

from types import SimpleNamespace

import pytest

from kdarena.arena import known_costs as module
from kdarena.arena.known_costs import known_costs, recorded_costs
from kdarena.method.discovery import discover, select
from kdarena.plan.amounts import parse_amount
from kdarena.plan.cost import CostProfile, PhaseProfile
from kdarena.plan.entrants import entrants_of
from kdarena.plan.machine import Machine
from kdarena.plan.request import Request
from kdarena.plan.spec import Budget, PhaseCost
from kdarena.plan.stated_rates import STATED
from kdarena.tracks import find_card

CARD = find_card("cifar100:resnet56-resnet20")
H100 = Machine("cuda", ("cuda:0",), 0, True, "NVIDIA H100")
ELSEWHERE = Machine("cuda", ("cuda:0",), 0, True)
REQUEST = Request(budget=parse_amount("240se"), seeds=6)


@pytest.fixture(scope="module")
def entrants():
    return [entrant for entrant in entrants_of(select(discover(), "student,kd"), CARD, Request()) if entrant.runs]


@pytest.fixture
def recorded(synthetic, entrants):
    """A run of a method of the command, with a step of so much time in so many operations."""
    sources = {entrant.method.name: entrant.plugin.source for entrant in entrants}

    def make(method, cost, flops, *, device="cuda", device_name="NVIDIA H100", unit="s", **changes):
        costs = (PhaseCost("train", None, 1.0, cost, cost / 0.002 if unit == "s" else None, 0.01, flops),)
        given = {"task": CARD.name, "source": sources[method], "device": device, "device_name": device_name, "costs": costs, "budget": Budget(60.0, unit)}
        return synthetic.run(method, **{**given, **changes})

    return make


@pytest.fixture
def counted(monkeypatch):
    """Counts operations at once: those of a step by name; notes what was asked for."""
    asked = {}

    def profiles(entrants, conditions, request, *, timed, trainings, made_up, display):
        asked.update(methods=[entrant.method.name for entrant in entrants], trainings=[teacher.architecture for teacher in trainings], made_up=made_up)
        flops = {"student": STATED[0].student_flops, "kd": STATED[0].kd_flops, "resnet56": 3 * STATED[0].student_flops}
        names = [*asked["methods"], *asked["trainings"]]
        return {name: CostProfile(name, (PhaseProfile("train", None, 1.0, 0.1, int(flops[name])),), 703, None, 1.0, 1.0, 1) for name in names}

    monkeypatch.setattr(module, "untrained_profiles", profiles)
    return asked


def known(entrants, runs, machine=ELSEWHERE, request=REQUEST):
    return known_costs(request, CARD, entrants, runs, machine, SimpleNamespace())


def test_without_a_record_operations_are_counted_over_made_up_data_and_the_student_s_step_is_the_stated_one(entrants, counted):
    found = known(entrants, [])
    assert counted == {"methods": ["student", "kd"], "trainings": ["resnet56"], "made_up": True}
    assert {costs.source for costs in found.task.costs.values()} == {"counted"}
    assert found.task.costs["kd"].phases[0].cost == pytest.approx(STATED[0].kd_flops / STATED[0].student_flops)
    assert found.task.student_s == pytest.approx(64 / 21948 * STATED[0].student_flops / STATED[0].kd_flops)
    assert found.task.teachers == pytest.approx([3.0])
    assert not found.timed


def test_costs_that_were_measured_on_such_a_device_are_taken_first(entrants, counted, recorded):
    found = known(entrants, [recorded("student", 0.002, 100), recorded("kd", 0.007, 200)])
    assert found.task.costs["kd"].source == "measured"
    assert found.task.costs["kd"].phases[0].cost == pytest.approx(3.5)
    assert (found.task.student_s, found.timed, found.device_name) == (0.002, True, "NVIDIA H100")
    assert counted["methods"] == []


def test_costs_that_were_measured_on_another_device_come_next_and_say_nothing_of_a_student_s_step(entrants, counted, recorded):
    given = {"device": "cpu", "device_name": "a CPU"}
    found = known(entrants, [recorded("student", 0.002, int(1e10), **given), recorded("kd", 0.0056, int(2.5e10), **given)])
    assert found.task.costs["kd"].source == "elsewhere"
    assert found.task.costs["kd"].phases[0].cost == pytest.approx(2.8)
    assert not found.timed
    assert counted["methods"] == []


def test_a_record_without_times_gives_the_operations(entrants, counted, recorded):
    given = {"device": "cpu", "device_name": "a CPU", "unit": "flop"}
    found = known(entrants, [recorded("student", 1e10, int(1e10), **given), recorded("kd", 2.5e10, int(2.5e10), **given)])
    assert found.task.costs["kd"].source == "counted"
    assert found.task.costs["kd"].phases[0].cost == pytest.approx(2.5)
    assert counted["methods"] == []


def test_costs_of_another_model_or_of_other_code_are_not_taken_as_measured(entrants, recorded):
    runs = [recorded("kd", 0.007, 200, device_name="NVIDIA A100"), recorded("kd", 0.008, 200, source="edited")]
    assert recorded_costs(runs, CARD, entrants, "cuda", "NVIDIA H100").on_device == frozenset()


def test_of_a_device_that_is_not_here_the_last_model_in_the_record_is_taken(entrants, recorded):
    runs = [recorded("kd", 0.007, 200, device_name="NVIDIA H100"), recorded("kd", 0.006, 200, device_name="NVIDIA A100")]
    found = recorded_costs(runs, CARD, entrants, "cuda", "")
    assert (found.device_name, found.phases["kd"][0].cost) == ("NVIDIA A100", 0.006)


def test_long_runs_are_taken_to_be_compiled_unless_that_is_off(entrants, counted):
    long = Request(budget=parse_amount("2400se"))
    assert known(entrants, []).way == "captured"
    assert known(entrants, [], request=long).way == "compiled and captured"
    assert known(entrants, [], request=Request(budget=parse_amount("2400se"), compile="off")).way == "captured"


@pytest.mark.parametrize(("budget", "way"), [("240se", "eager"), ("24000se", "compiled")])
def test_steps_that_are_not_to_be_captured_are_not_taken_to_be(entrants, counted, budget, way):
    assert known(entrants, [], request=Request(budget=parse_amount(budget), capture="off")).way == way


def test_a_method_that_does_not_fit_the_networks_is_named_and_takes_no_time(entrants, counted, monkeypatch):
    before = module.untrained_profiles

    def refusing(*given, **named):
        return {**before(*given, **named), "kd": CostProfile("kd", (), 0, None, 0.0, 0.0, 0, status="skipped", error="no")}

    monkeypatch.setattr(module, "untrained_profiles", refusing)
    found = known(entrants, [])
    assert (list(found.task.costs), found.unfit) == (["student"], {"kd": "no"})


def test_without_data_and_without_made_up_ones_nothing_is_known():
    card = find_card("camvid")
    entrants = [entrant for entrant in entrants_of(select(discover(), "student"), card, Request()) if entrant.runs]
    assert known_costs(REQUEST, card, entrants, [], ELSEWHERE, SimpleNamespace()) is None
