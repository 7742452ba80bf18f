"""What a command gets: fitted to its total time, shared out among its tasks."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdarena.plan.allocation import DEFAULT_SEEDS, LADDER, Allocation, allocate, enough_for_all, least_seconds, share_of_time
from kdarena.plan.amounts import Amount, parse_amount
from kdarena.plan.budget import commit, minimum_amount
from kdarena.plan.request import Request
from kdarena.plan.spec import PhaseCost
from kdarena.tracks import find_card

STUDENT_S = 0.002


def costs(*prices):
    return {f"method{number}": [PhaseCost("train", None, 1.0, price * STUDENT_S, price, 0.0, 0)] for number, price in enumerate(prices)}


def fitted(seconds, methods=None, total=600.0, **changes):
    return allocate(Request(total=total), find_card("digits"), methods or costs(1.0, 2.5), STUDENT_S, 7, seconds, 2, **changes)


def test_without_a_budget_the_planner_fits_the_job_to_its_total():
    ample = fitted(3600.0)
    assert (ample.seeds, ample.tuning > 0) == (DEFAULT_SEEDS, True)
    assert ample.amount == pytest.approx(find_card("digits").recipe.student_epochs * 7 * STUDENT_S, rel=0.05)
    short = fitted(12.0)
    assert (short.seeds, short.tuning) == (DEFAULT_SEEDS, 0.0)
    assert short.amount < ample.amount
    assert any("no trials" in note for note in short.notes)
    shortest = fitted(2.5)
    assert shortest.seeds < DEFAULT_SEEDS
    assert dataclasses.asdict(shortest)["unit"] == "s"


def test_the_dearest_method_gets_its_least_budget_where_the_tasks_full_schedule_is_shorter():
    methods = costs(1.0, 80.0)
    choice = fitted(3600.0, methods)
    assert choice.amount > find_card("digits").recipe.student_epochs * 7 * STUDENT_S
    assert commit(methods["method1"], choice.amount)


@pytest.mark.parametrize(("total", "asked"), [(None, "the default of 10 minutes"), (60.0, "what is left of --total")])
def test_where_the_time_is_too_short_the_methods_get_their_least_budget_and_take_longer(total, asked):
    choice = fitted(0.5, total=total)
    assert (choice.seeds, choice.amount) == (2, pytest.approx(50 * 2.5 * STUDENT_S, rel=0.05))
    assert f"{asked} is too short for 2 methods here: they get their least budget and take longer" in choice.notes


@given(price=st.floats(1.0, 20.0), seconds=st.floats(10.0, 60.0))
def test_no_rounding_takes_the_dearest_methods_last_step(price, seconds):
    methods = costs(1.0, price)
    assert fitted(seconds, methods).amount >= minimum_amount(methods["method1"])


def test_what_a_task_needs_at_least_is_just_enough_for_all_seeds():
    methods = costs(1.0, 2.5, 4.0)
    need = least_seconds(methods, DEFAULT_SEEDS, 0.1)
    least = 50 * 4.0 * STUDENT_S
    assert need == pytest.approx(15 * (least + 0.1) + DEFAULT_SEEDS * sum(0.1 + share * least for share in LADDER))
    assert fitted(need / 2 + 0.01, methods, overhead=0.1).seeds == DEFAULT_SEEDS
    assert fitted(need / 2 * 0.95, methods, overhead=0.1).seeds < DEFAULT_SEEDS


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


@given(st.lists(st.floats(1e-3, 1e15), min_size=1, max_size=4))
def test_the_budget_that_a_note_offers_is_enough_for_every_method_that_was_refused(prices):
    refused = {f"method{number}": [PhaseCost("train", None, 1.0, price, price, 0.0, 0)] for number, price in enumerate(prices)}
    (note,) = enough_for_all(refused, list(refused), Allocation(0.0, "flop", 1, 0.0, "1flop")).notes
    typed = note.split("--budget ")[1].split()[0]
    offered = parse_amount(typed, "--budget")
    for costs in refused.values():
        assert sum(commit(costs, offered.value)) >= 50


def test_of_a_method_that_no_budget_serves_none_is_offered():
    refused = {"free": [PhaseCost("fit", None, 1.0, 0.0, None, None, 0)]}
    choice = Allocation(5.0, "epochs", 1, 0.0, "5epochs")
    assert enough_for_all(refused, list(refused), choice) is choice


def test_a_tuning_budget_below_a_trial_is_said_to_allow_none():
    def notes(tuning):
        request = Request(budget=Amount(10.0, "flop"), tuning_budget=Amount(tuning, "flop"))
        return allocate(request, find_card("digits"), {}, None, 7, 0.0, 2).notes

    assert notes(2.0) == ("no trials: the tuning budget is less than one, 0.5 of a run's",)
    assert notes(5.0) == notes(100.0) == ()


def test_where_the_budget_is_enough_nothing_is_noted():
    choice = Allocation(1.0, "flop", 1, 0.0, "1flop")
    assert enough_for_all(costs(1.0), {}, choice) is choice
