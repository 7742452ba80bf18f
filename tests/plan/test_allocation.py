"""What a command gets, and the budgets that are too small for a method."""

from hypothesis import given
from hypothesis import strategies as st

from kdarena.plan.allocation import Allocation, enough_for_all
from kdarena.plan.amounts import parse_amount
from kdarena.plan.budget import commit
from kdarena.plan.spec import PhaseCost

STUDENT_S = 0.002


def costs(*prices):
    return {f"method{number}": [PhaseCost("train", None, 1.0, price * STUDENT_S, price, 0.0, 0)] for number, price in enumerate(prices)}


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


def test_where_the_budget_is_enough_nothing_is_noted():
    choice = Allocation(1.0, "flop", 1, 0.0, "1flop")
    assert enough_for_all(costs(1.0), {}, choice) is choice
