"""When outputs of teachers are looked up."""

from kdarena.plan.spec import FILLING, PhaseCost
from kdarena.plan.stored import StoredCosts, chosen

LIVE = (PhaseCost("train", None, 1.0, 2.0, 2.0, 0.01, 200),)
PARTS = (("logits",),)
STORED = StoredCosts((PhaseCost(FILLING, 100, 1.0, 1.0, 1.0, 0.01, 100), PhaseCost("train", None, 1.0, 1.0, 1.0, 0.01, 100)), PARTS)


def test_outputs_are_looked_up_where_the_budget_buys_more_steps_after_they_are_filled_in():
    assert chosen(LIVE, STORED, 202.0) == (STORED.costs, PARTS)


def test_teachers_are_called_where_filling_in_costs_more_than_it_saves():
    assert chosen(LIVE, STORED, 198.0) == (LIVE, ())
    assert chosen(LIVE, STORED, 50.0) == (LIVE, ())


def test_nothing_is_looked_up_of_a_method_that_can_t():
    assert chosen(LIVE, None, 1e9) == (LIVE, ())


def test_in_epochs_operations_decide():
    live = (PhaseCost("train", None, 1.0, 0.1, None, None, 200),)
    filling, train = PhaseCost(FILLING, 100, 1.0, 0.0, None, None, 100), PhaseCost("train", None, 1.0, 0.1, None, None, 100)
    stored = StoredCosts((filling, train), PARTS)
    assert chosen(live, stored, 10.2) == (stored.costs, PARTS)
    assert chosen(live, stored, 9.8) == (live, ())


def test_filling_steps_are_none_of_the_method_s_steps():
    fixed = PhaseCost("fit", 10, 1.0, 1.0, 1.0, 0.01, 1)
    stored = StoredCosts((STORED.costs[0], fixed, STORED.costs[1]), PARTS)
    assert chosen((fixed, *LIVE), stored, 200.0)[1] == ()
    assert chosen((fixed, *LIVE), stored, 214.0)[1] == PARTS
