"""How long a command takes, from declared costs and from measured steps; with made-up costs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdarena.plan.allocation import LADDER, Allocation
from kdarena.plan.amounts import Amount, parse_amount, parse_duration
from kdarena.plan.estimate import Pace, Work, declared_work, left_out, needed_total, profiled_seconds, spoken, stated_seconds, too_short, typed_total
from kdarena.plan.request import Request
from kdarena.plan.spec import PhaseCost
from kdarena.tracks import find_card

PACE = Pace(10, 0.01, {"large": 0.05}, ((1e6, 0.01), (9e6, 0.05)))


def work(methods=10, teachers=4, steps=1000.0, pace=PACE):
    return Work(methods, [("large", steps)] * teachers, pace)


def stated(text, tuning="0", **changes):
    return Request(budget=parse_amount(text), tuning_budget=Amount(0.0, "s") if tuning == "0" else tuning and parse_amount(tuning), **changes)


def test_the_total_that_is_needed_holds_the_training_of_the_teachers():
    without, with_three = (needed_total(Request(), [work(teachers=number)], 2) for number in (0, 3))
    assert with_three - without == pytest.approx(2 * 1000 * 0.05, rel=0.2)


@pytest.mark.parametrize("larger", [work(methods=20), work(steps=2000.0), work(pace=Pace(10, 0.02, {"large": 0.1}))])
def test_more_methods_longer_teachers_and_slower_steps_need_a_longer_total(larger):
    assert needed_total(Request(), [larger], 2) > 1.05 * needed_total(Request(), [work()], 2)


def test_stated_seeds_are_needed_and_more_workers_need_less_time():
    assert needed_total(Request(seeds=10), [work()], 2) > needed_total(Request(), [work()], 2)
    assert needed_total(Request(), [work()], 8) < needed_total(Request(), [work()], 2)


@given(methods=st.integers(1, 60), tasks=st.integers(1, 6), step=st.floats(1e-4, 0.1))
def test_a_total_that_is_offered_is_enough_when_it_is_typed(methods, tasks, step):
    works = [work(methods=methods, pace=Pace(10, step, {"large": 5 * step}))] * tasks
    needed = needed_total(Request(), works, 2)
    offered = parse_duration(typed_total(needed), "--total")
    assert needed <= offered <= 1.1 * needed + 600


def test_the_line_for_too_short_a_total_names_the_total_that_is_needed():
    line = too_short(30.0, 400.0, 38, 12)
    assert line == "--total 30s is too short for 38 methods on 12 tasks: about 7.5m are needed; raise --total, or name fewer --plugins or --tasks"
    assert too_short(30.0, 400.0, 38, 1).endswith("raise --total, or name fewer --plugins")


def test_a_task_that_is_left_out_is_named_with_the_options_that_run_it():
    line = left_out("scenes", 9, 3, 400.0)
    assert line == (
        "scenes is left out: the time is too short for 3 seeds of its 9 methods, each with its least budget; "
        "run it by itself: the same command with --tasks scenes --total 7.5m"
    )


def test_where_nothing_is_measured_the_teachers_of_an_embedded_task_take_the_recipes_epochs():
    card = find_card("digits")
    (teacher,) = declared_work(Request(), [], card).teachers
    assert teacher == ("teacher", card.recipe.teacher_epochs * (card.train // card.recipe.batch_size))
    (short,) = declared_work(Request(teacher_budget=Amount(2.0, "epochs")), [], card).teachers
    assert short[1] == 2 * (card.train // card.recipe.batch_size)


@pytest.mark.parametrize(
    ("budget", "seconds"),
    # ten methods of five seeds and the student's three quarters each, on two workers
    [("100s", 100.0), ("100se", 100 * 10 * 0.01), ("1e12flop", 1e12 / 1e6 * 0.01), ("100epochs", 3 * 100 * 10 * 0.01)],
)
def test_a_stated_budget_takes_its_seconds_for_each_run(budget, seconds):
    runs = (50 + 5 * sum(LADDER)) * seconds / 2
    assert stated_seconds(stated(budget), [work(teachers=0)], 2) == pytest.approx(runs, rel=0.2, abs=40)


def test_trials_and_a_second_set_of_finals_add_to_the_time_of_a_stated_budget():
    plain, tuned, both = (stated_seconds(stated("100s", tuning, both=both), [work()], 2) for tuning, both in (("0", False), (None, False), (None, True)))
    assert tuned - plain == pytest.approx(10 * 150 / 2, rel=0.05)
    assert both - tuned == pytest.approx(50 * 100 / 2, rel=0.05)
    assert stated_seconds(stated("100s", None, protocol="published"), [work()], 2) == plain


def test_a_step_of_a_method_takes_longer_by_its_operations_on_the_line_through_student_and_teacher():
    assert PACE.step_seconds(1e6) == pytest.approx(0.01)
    assert PACE.step_seconds(5e6) == pytest.approx(0.03)
    assert PACE.step_seconds(17e6) == pytest.approx(0.09)
    assert Pace(10, 0.01, {}, ((1e6, 0.01),)).step_seconds(2e6) == pytest.approx(0.02)


def test_profiled_runs_take_their_committed_steps():
    costs = {"a": [PhaseCost("train", None, 1.0, 5e6, None, None, 5_000_000)]}
    allocation = Allocation(5e8, "flop", 4, 0.0, "5e8flop")
    assert profiled_seconds(costs, allocation, PACE, 2) == pytest.approx(4 * 100 * 0.03 / 2, rel=0.1)
    tuned = Allocation(5e8, "flop", 4, 1e9, "")  # 100 steps a run, so that a trial has 50
    assert profiled_seconds(costs, tuned, PACE, 2) == pytest.approx(6 * 100 * 0.03 / 2, rel=0.1)
    assert profiled_seconds(costs, tuned, PACE, 2, both=True) == pytest.approx(10 * 100 * 0.03 / 2, rel=0.1)
    assert profiled_seconds(costs, Allocation(5e8, "flop", 4, 1e8, ""), PACE, 2) == pytest.approx(4 * 100 * 0.03 / 2, rel=0.1)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(42, "42 s"), (300, "5 min"), (12_000, "3 h 20 min"), (3_599, "1 h 0 min"), (float("inf"), "inf years"), (864_000, "10 days"), (1e20, "3.17e+12 years")],
)
def test_a_time_is_said_in_the_unit_that_suits_it(seconds, text):
    assert spoken(seconds) == text
