"""What a command takes on a device that is not at hand, by the costs of steps."""

from dataclasses import replace

import pytest

from kdarena.plan.allocation import LADDER
from kdarena.plan.amounts import Amount, parse_amount
from kdarena.plan.curve import SHARE
from kdarena.plan.device_hours import DeviceTask, StepCosts, assumed, counted, hours, measured
from kdarena.plan.profile_rule import RULES
from kdarena.plan.request import Request
from kdarena.plan.spec import PhaseCost
from kdarena.tracks import find_card

CARD = find_card("cifar100:resnet56-resnet20")
EPOCH = 45_000 // 64


def phase(cost, name="train", steps=None, flops=0, relative=None):
    return PhaseCost(name, steps, 1.0, cost, relative, None, flops)


STUDENT, KD = StepCosts((phase(1.0),), "counted"), StepCosts((phase(2.0),), "counted")
TASK = DeviceTask(CARD, {"student": STUDENT, "kd": KD}, (3.0,), 0.001, 1e9)


def stated(budget, **changes):
    return Request(budget=parse_amount(budget), **changes)


def test_a_budget_in_student_epochs_takes_every_method_the_same_time_and_buys_it_steps_by_their_cost():
    amount = parse_amount("240se")
    assert TASK.steps("student", amount) == (240 * EPOCH,)
    assert TASK.steps("kd", amount) == (120 * EPOCH,)
    assert TASK.seconds("student", amount) == pytest.approx(TASK.seconds("kd", amount)) == pytest.approx(0.24 * EPOCH)


def test_a_budget_in_epochs_takes_an_expensive_method_longer():
    amount = parse_amount("10epochs")
    assert TASK.seconds("kd", amount) == pytest.approx(2 * TASK.seconds("student", amount)) == pytest.approx(0.02 * EPOCH)


@pytest.mark.parametrize(("budget", "seconds"), [("10m", 600.0), ("6e13flop", 60.0)])
def test_budgets_in_seconds_and_operations_are_turned_into_steps_of_the_student(budget, seconds):
    assert TASK.seconds("student", parse_amount(budget)) == pytest.approx(seconds, rel=1e-4)


def test_the_hours_are_methods_by_seeds_by_the_budget_with_tuning_and_the_controls():
    taken = hours(stated("240se", seeds=6), TASK, RULES["cuda"])
    budget = 0.24 * EPOCH
    assert taken.finals["kd"] == pytest.approx(6 * (1 + SHARE) * budget, rel=0.01)
    assert taken.finals["student"] - taken.finals["kd"] == pytest.approx(6 * sum(LADDER) * budget, rel=0.01)
    assert sum(taken.tuning.values()) == pytest.approx(2 * 1.5 * budget, rel=0.01)


def test_a_teacher_is_trained_by_the_recipe_or_for_four_budgets_whichever_is_less():
    assert TASK.teacher_seconds(stated("240se")) == pytest.approx(240 * 3 * EPOCH * 0.001)
    assert TASK.teacher_seconds(stated("30se")) == pytest.approx(4 * 30 * EPOCH * 0.001)
    assert TASK.teacher_seconds(stated("30se", teacher_budget=Amount(10.0, "epochs"))) == pytest.approx(10 * 3 * EPOCH * 0.001)


def test_untuned_methods_take_no_time_for_tuning():
    assert set(hours(stated("240se", untuned=True), TASK, RULES["cuda"]).tuning.values()) == {0.0}


def test_runs_side_by_side_shorten_everything_but_the_profiles():
    taken = hours(stated("240se"), TASK, RULES["cuda"])
    assert taken.profiles > 0
    assert taken.total(3.0) == pytest.approx(taken.profiles + taken.runs / 3)
    assert taken.total(3.0, devices=2) == pytest.approx(taken.total(3.0) / 2)


def test_the_profiles_of_forty_methods_take_less_than_two_minutes_on_a_gpu():
    many = replace(TASK, costs={"student": STUDENT, **{f"m{number}": StepCosts((phase(4.0),), "counted") for number in range(40)}})
    assert 20 < hours(stated("240se"), many, RULES["cuda"]).profiles < 120


def test_costs_are_counted_in_operations_of_the_student_s_step_and_never_nothing():
    costs = counted((phase(0.0, flops=300), phase(0.0, "fit", 10, flops=0)), 100.0)
    assert [each.cost for each in costs.phases] == [3.0, 0.01]
    assert costs.source == "counted"


def test_measured_costs_are_taken_as_they_are_and_only_where_time_was_measured():
    assert measured((phase(0.005, relative=2.5),), "elsewhere") == StepCosts((phase(2.5, relative=2.5),), "elsewhere")
    assert measured((phase(2.0),), "measured") is None


def test_of_a_method_of_which_nothing_is_known_the_mean_is_assumed():
    assert (assumed().phases[0].cost, assumed().source) == (3.0, "assumed")
