"""Seeds, budget and trials for a task, fitted to a total time that tasks share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdarena.plan.allocation import LADDER, TRIAL_OVERHEAD, least_amount, run_seconds
from kdarena.plan.amounts import Amount
from kdarena.plan.budget import commit, minimum_amount
from kdarena.plan.curve import SHARE
from kdarena.plan.levels import DEFAULT_SEEDS, FEWEST_SEEDS, Level, levels
from kdarena.plan.planner import allocate, share_of_time
from kdarena.plan.request import Request
from kdarena.plan.spec import PhaseCost
from kdarena.tracks import find_card

STUDENT_S = 0.002
FULL = find_card("digits").recipe.student_epochs * 7 * STUDENT_S
TUNED = Level(DEFAULT_SEEDS, True)


def costs(*prices):
    return {f"method{number}": [PhaseCost("train", None, 1.0, price * STUDENT_S, price, 0.0, 0)] for number, price in enumerate(prices)}


def fitted(seconds, methods=None, total=600.0, **changes):
    return allocate(Request(total=total), find_card("digits"), methods or costs(1.0, 2.5), STUDENT_S, 7, seconds, 2, **changes)


def test_without_a_budget_the_planner_fits_the_job_to_its_total():
    ample = fitted(3600.0)
    assert (ample.seeds, ample.tuning) == (DEFAULT_SEEDS, pytest.approx(1.5 * ample.amount))
    assert ample.amount == pytest.approx(FULL, rel=0.05)
    assert ample.notes == ()
    short = fitted(12.0)
    assert (short.seeds, short.tuning > 0) == (DEFAULT_SEEDS, True)
    assert short.amount < ample.amount
    assert any("the budget of a run was cut from" in note for note in short.notes)


def test_where_time_is_shorter_than_the_least_budgets_seeds_give_way_and_then_trials():
    methods, seen = costs(1.0, 2.5), []
    for level in levels(Request()):
        need = run_seconds(methods, least_amount(methods), level, 0.12)
        choice = fitted(need / 2 * 1.001, methods)
        seen.append((choice.seeds, choice.tuning > 0))
    # three seeds with trials take less here than four without, since 1.5 budgets hold no trials of the most expensive method
    assert seen == [(5, True), (4, True), (3, True), (3, True), (3, False)]
    assert any("4 seeds instead of 5" in note for note in fitted(need / 2 * 1.5, methods).notes)
    assert any("no trials: they would leave less than" in note for note in choice.notes)


def test_a_level_that_was_chosen_for_all_tasks_is_what_a_task_gets():
    assert (fitted(3600.0, level=Level(4, False)).seeds, fitted(3600.0, level=Level(4, False)).tuning) == (4, 0.0)


def test_the_most_expensive_method_gets_its_least_budget_where_the_tasks_full_schedule_is_shorter():
    methods = costs(1.0, 80.0)
    choice = fitted(3600.0, methods)
    assert choice.amount > FULL
    assert commit(methods["method1"], choice.amount)


@pytest.mark.parametrize(("total", "asked"), [(None, "the default of 10 minutes"), (60.0, "what is left of --total")])
def test_where_the_time_is_too_short_the_methods_get_their_least_budget_and_take_longer(total, asked):
    choice = fitted(0.5, total=total)
    assert (choice.seeds, choice.amount) == (FEWEST_SEEDS, pytest.approx(50 * 2.5 * STUDENT_S, rel=0.05))
    assert f"{asked} is too short for 2 methods here: they get their least budget and take longer" in choice.notes


@given(price=st.floats(1.0, 20.0), seconds=st.floats(10.0, 60.0))
def test_no_rounding_takes_the_most_expensive_methods_last_step(price, seconds):
    methods = costs(1.0, price)
    assert fitted(seconds, methods).amount >= minimum_amount(methods["method1"])


@given(price=st.floats(1.0, 20.0), seconds=st.floats(20.0, 60.0))
def test_what_is_planned_takes_no_longer_than_there_is_time(price, seconds):
    methods = costs(1.0, price, price)
    choice = fitted(seconds, methods)
    assert (
        run_seconds(methods, choice.amount, Level(choice.seeds, choice.tuning > 0), 0.12) <= 1.15 * 2 * seconds
    )  # rounding takes up to 5 %, and may hold a trial more of each method


def test_the_time_of_a_task_is_that_of_its_final_runs_its_controls_and_its_trials():
    methods = costs(1.0, 2.5, 4.0)
    amount = 8 * 50 * 2.5 * STUDENT_S
    plain = 15 * ((1 + SHARE) * amount + 0.1) + 5 * sum(0.1 + share * amount for share in LADDER)
    assert run_seconds(methods, amount, Level(5, False), 0.1) == pytest.approx(plain)
    # twelve trials of an eighth for two of them, and of fifty steps for the most expensive, of which 1.5 budgets hold seven
    trials = 2 * 1.5 * amount + 7 * 50 * 4.0 * STUDENT_S + (24 + 7) * TRIAL_OVERHEAD * 0.1
    assert run_seconds(methods, amount, TUNED, 0.1) == pytest.approx(plain + trials)
    assert run_seconds(methods, amount, TUNED, 0.1, both=True) == pytest.approx(plain + trials + 15 * ((1 + SHARE) * amount + 0.1))


def test_the_plan_is_the_same_again_where_a_smaller_total_reached_the_full_schedule_or_lacks_seeds():
    full = fitted(3600.0)
    assert fitted(7200.0, before=full) == full
    short = fitted(6.0, level=Level(3, True))
    longer = fitted(60.0, before=short, level=TUNED)
    assert (longer.amount, longer.stated, longer.seeds, longer.tuning) == (short.amount, short.stated, DEFAULT_SEEDS, short.tuning)
    untuned = fitted(6.0, level=Level(3, False))
    tuned = fitted(60.0, before=untuned, level=TUNED)
    assert (tuned.amount, tuned.seeds, tuned.tuning) == (untuned.amount, DEFAULT_SEEDS, pytest.approx(1.5 * untuned.amount))


def test_seeds_that_a_smaller_total_did_stay_where_its_budget_leaves_no_time_for_more():
    before = fitted(60.0, level=Level(3, True))
    after = fitted(61.0, costs(1.0, 2.5, 2.5, 2.5, 2.5, 2.5), before=before, level=Level(3, True))
    assert (after.amount, after.seeds, after.tuning) == (before.amount, before.seeds, before.tuning)


def test_where_only_length_is_missing_a_larger_total_makes_longer_runs():
    short = fitted(12.0)
    longer = fitted(24.0, before=short)
    assert longer.amount > short.amount
    assert longer == fitted(24.0)


@given(
    left=st.floats(1.0, 1e4),
    tasks=st.lists(st.tuples(st.floats(0.1, 500.0), st.integers(1, 50)), min_size=1, max_size=6),
)
def test_each_task_gets_what_it_needs_or_all_have_the_same_part_of_it(left, tasks):
    needs, methods = [need for need, _ in tasks], [count for _, count in tasks]
    shares, rest = [], left
    for number in range(len(tasks)):
        shares.append(share_of_time(rest, needs[number:], methods[number:]))
        rest -= shares[-1]
    assert rest == pytest.approx(0.0, abs=1e-6 * left)
    if left >= sum(needs):
        assert all(share >= need * (1 - 1e-9) for share, need in zip(shares, needs, strict=True))
        spare = [(share - need) / count for share, need, count in zip(shares, needs, methods, strict=True)]
        assert spare == pytest.approx([spare[0]] * len(spare), abs=1e-6 * left)
    else:
        parts = [share / need for share, need in zip(shares, needs, strict=True)]
        assert parts == pytest.approx([left / sum(needs)] * len(parts))


def test_a_tuning_budget_below_two_trials_is_said_to_allow_none():
    def notes(tuning):
        request = Request(budget=Amount(10.0, "flop"), tuning_budget=Amount(tuning, "flop"))
        return allocate(request, find_card("digits"), {}, None, 7, 0.0, 2).notes

    assert notes(2.0) == ("no trials: the tuning budget is less than two of them, each 0.125 of a run's",)
    assert notes(2.5) == notes(100.0) == ()


@pytest.mark.parametrize("changes", [{"untuned": True}, {"tuning_budget": Amount(0.0, "s")}, {"protocol": "published"}])
def test_without_tuning_a_stated_budget_has_none(changes):
    choice = allocate(Request(budget=Amount(10.0, "flop"), **changes), find_card("digits"), {}, None, 7, 0.0, 2)
    assert (choice.tuning, choice.notes) == (0.0, ())
