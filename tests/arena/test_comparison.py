"""What the user reads before the runs of a task start."""

from types import SimpleNamespace

import pytest

from kdarena.arena.comparison import Comparison, can_show
from kdarena.plan.allocation import LADDER, Allocation
from kdarena.plan.spec import PhaseCost

PRICES = {"student": 0.01, "kd": 0.02, "huge": 0.09}


@pytest.fixture
def comparison():
    entrants = tuple(SimpleNamespace(method=SimpleNamespace(name=name)) for name in PRICES)
    task = SimpleNamespace(conditions=SimpleNamespace(card=SimpleNamespace(name="digits")), runnable=entrants)
    costs = {name: (PhaseCost("train", None, 1.0, price, 1.0, 0.0, 1),) for name, price in PRICES.items()}
    return lambda tuning: Comparison(task, Allocation(5.0, "s", 5, tuning, "70se", ("4 tasks wait",)), costs)


def test_the_plan_says_rows_budget_seeds_tuning_its_share_and_what_was_cut(comparison):
    plan, tuning, untuned, note, shown = comparison(7.5).announcement({})
    assert plan == "digits: 3 methods; budget of a run 5 s (70se); 5 seeds"
    share = 2 * 7.0 / (2 * 7.0 + (15 + 5 * sum(LADDER)) * 5.0)
    assert tuning.startswith("digits: tuning: 7.5 s a method, at most 12 trials, ")
    assert float(tuning.split(", ")[-1].split("%")[0]) == pytest.approx(100 * share, abs=3)
    assert untuned == "digits: huge: not tuned: 1.5 budgets hold no two trials of 50 steps"
    assert note == "digits: 4 tasks wait"
    assert shown.startswith("digits: 5 seeds show")


def test_a_method_that_is_refused_is_not_among_the_rows(comparison):
    plan, *further = comparison(0.0).announcement({"huge": "the budget allows 5 steps"})
    assert plan.startswith("digits: 2 methods")
    assert "digits: no tuning" in further


def test_the_more_seeds_the_smaller_a_difference_that_they_show_and_no_points_are_promised():
    spreads = [float(can_show(seeds)[0].split(" is ")[1].split()[0]) for seeds in (3, 5, 10, 20)]
    assert spreads == sorted(spreads, reverse=True)
    assert "the board says how many points that is" in can_show(5)[0]
    assert can_show(1) == ("one seed shows no difference: how far seeds differ is not seen",)
