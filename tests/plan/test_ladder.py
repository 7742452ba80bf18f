"""Further budgets than that of a final run, and the time that they take."""

import pytest

from kdarena.plan.allocation import NO_LADDER, Allocation, final_runs, run_seconds
from kdarena.plan.amounts import parse_amount
from kdarena.plan.estimate import Pace, Work, needed_total, profiled_seconds, stated_seconds
from kdarena.plan.ladder import Ladder, ladder_of, rung_amount
from kdarena.plan.levels import Level
from kdarena.plan.planner import allocate
from kdarena.plan.request import Request
from kdarena.plan.spec import PhaseCost
from kdarena.tracks import find_card

LADDER = ladder_of((2.0, 0.25, 1.0, 0.5, 0.5))
COSTS = {f"m{number}": [PhaseCost("train", None, 1.0, 0.01, 1.0, 0.0, 1000)] for number in range(10)}
PACE = Pace(10, 0.01, {"large": 0.05}, ((1e6, 0.01), (9e6, 0.05)))


def test_a_ladder_has_each_factor_once_and_not_that_of_the_final_runs():
    assert Ladder((0.25, 0.5, 2.0), None) == LADDER


def test_a_rung_has_whole_steps_and_one_that_holds_none_is_no_rung():
    two = [PhaseCost("fit", 5, 1.0, 1.0, None, None, 0), PhaseCost("train", None, 1.0, 2.0, None, None, 0)]
    assert rung_amount(two, 10.0) == 5 + 2 * 2
    assert rung_amount(two, 5.5) is None
    assert rung_amount(two, 4.0) is None


def test_the_ladder_takes_its_budgets_with_every_seed_of_every_method_or_of_the_most_that_climb_it():
    plain, jobs = final_runs(10, Level(4, False))
    assert final_runs(10, Level(4, False), ladder=LADDER) == (plain + 4 * 10 * 2.75, jobs + 4 * 10 * 3)
    assert final_runs(10, Level(4, False), ladder=Ladder(LADDER.factors, 3)) == (plain + 4 * 3 * 2.75, jobs + 4 * 3 * 3)
    assert final_runs(10, Level(4, False), ladder=NO_LADDER) == (plain, jobs)


def test_a_total_time_holds_the_ladder():
    plain = run_seconds(COSTS, 1.0, Level(5, True), 0.1)
    assert run_seconds(COSTS, 1.0, Level(5, True), 0.1, ladder=LADDER) == pytest.approx(plain + 5 * 10 * (2.75 + 3 * 0.1))
    short, long = (allocate(Request(total=60.0, ladder=rungs), find_card("digits"), COSTS, 0.002, 7, 30.0, 2).amount for rungs in (LADDER, NO_LADDER))
    assert short < 0.8 * long


def test_a_total_that_is_needed_and_a_stated_budgets_time_count_the_ladder():
    work = Work(10, [], PACE)
    assert needed_total(Request(ladder=LADDER), [work], 2) > 1.2 * needed_total(Request(), [work], 2)
    budget = parse_amount("10s")
    stated = [stated_seconds(Request(budget=budget, untuned=True, seeds=4, ladder=rungs), [work], 2) for rungs in (LADDER, NO_LADDER)]
    assert stated[0] - stated[1] == pytest.approx(4 * 10 * (2.75 * 10 + 3 * 0.12) / 2)
    allocation = Allocation(1e6, "flop", 4, 0.0, "")
    profiled = [profiled_seconds(COSTS, allocation, PACE, 2, ladder=rungs) for rungs in (LADDER, NO_LADDER)]
    assert profiled[0] > 3 * profiled[1]
