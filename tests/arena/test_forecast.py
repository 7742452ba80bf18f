"""What a command is told of its time before anything is trained; with made-up paces."""

from dataclasses import replace

import pytest

from kdarena.arena.forecast import check_declared, check_profiled, check_stated, held, say_held
from kdarena.errors import UserError
from kdarena.method.discovery import discover
from kdarena.plan.amounts import Amount, parse_amount
from kdarena.plan.entrants import entrants_of
from kdarena.plan.estimate import Pace, Work
from kdarena.plan.request import Request
from kdarena.tracks import find_card

WORKS = [Work(10, [("large", 1000.0)] * 4, Pace(10, 0.01, {"large": 0.02}, ((1e6, 0.01), (2e6, 0.02))))]
NO_TUNING = {"tuning_budget": Amount(0.0, "s"), "seeds": 2}


def test_a_total_far_too_short_is_refused_by_declared_costs():
    card, request = find_card("digits"), Request(total=1.0, tasks=("digits",))
    entered = [entrants_of([plugin for plugin in discover() if plugin.error is None], card, request)]
    with pytest.raises(UserError, match=r"--total 1s is too short for \d+ methods on 1 task: about \S+ are needed"):
        check_declared(request, entered, [card], 2)
    check_declared(Request(total=120.0, tasks=("digits",)), entered, [card], 2)


def test_a_total_too_short_for_the_measured_steps_is_refused_and_an_ample_one_says_what_its_teachers_take():
    with pytest.raises(UserError, match=r"--total 30s is too short for 10 methods on 1 task: about \S+ are needed; raise --total"):
        held(Request(total=30.0), WORKS, 10, 2, 3.0)
    request = Request(total=600.0)
    assert held(request, WORKS, 10, 2, 3.0) == [0]
    assert say_held(request, WORKS, 1, 2) == "--total 10m holds everything: training the teachers takes about 41 s of it"


def test_where_a_total_holds_some_of_the_tasks_those_that_need_most_are_left_out_before_their_teachers_are_trained():
    request, expensive = Request(total=300.0), replace(WORKS[0], methods=100)
    works = [expensive, *WORKS, expensive]
    assert held(request, works, 100, 2, 3.0) == [1]
    assert say_held(request, WORKS, 3, 2) == "--total 5m holds 1 of 3 tasks: training the teachers takes about 41 s of it"


def test_a_stated_budget_says_how_long_it_takes():
    line = check_stated(Request(budget=parse_amount("10m"), **NO_TUNING), WORKS, 2)
    assert line == "the whole command takes at most about 1 h 50 min on 2 workers"


@pytest.mark.parametrize("budget", ["1e30flop", "1e9epochs", "3d", "1e9se"])
def test_more_than_a_day_is_started_only_where_the_user_says_yes(budget):
    request = Request(budget=parse_amount(budget), **NO_TUNING)
    with pytest.raises(UserError, match=r"takes about .* on 2 workers: give --yes to start it, or a smaller budget"):
        check_stated(request, WORKS, 2)
    said_yes = Request(budget=parse_amount(budget), yes=True, **NO_TUNING)
    assert "on 2 workers" in check_stated(said_yes, WORKS, 2)


def test_epochs_that_take_more_than_a_day_once_the_operations_are_counted_need_a_yes_too():
    with pytest.raises(UserError, match="--budget 1epochs on digits takes about 2 days on 2 workers: give --yes"):
        check_profiled(Request(budget=parse_amount("1epochs")), 2 * 86400.0, 2, "digits")
    assert check_profiled(Request(budget=parse_amount("1epochs")), 300.0, 2, "digits") == "digits: the runs take at most about 5 min on 2 workers"
