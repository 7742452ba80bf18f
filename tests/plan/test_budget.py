import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdarena.errors import BudgetTooSmall, UserError
from kdarena.plan.amounts import Amount, parse_amount
from kdarena.plan.budget import MINIMUM_STEPS, TEACHER_TOO_SMALL, commit, minimum_amount, share_out, spend
from kdarena.plan.spec import PhaseCost


def cost(name, price, steps=None, share=1.0):
    return PhaseCost(name, steps, share, price, None, None, 0)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("10m", Amount(600, "s")),
        ("45s", Amount(45, "s")),
        ("2h", Amount(7200, "s")),
        ("60se", Amount(60, "se")),
        ("3e15flop", Amount(3e15, "flop")),
        ("1.5e9 flops", Amount(1.5e9, "flop")),
        ("240epochs", Amount(240, "epochs")),
    ],
)
def test_budgets_are_read_in_four_currencies(text, amount):
    assert parse_amount(text) == amount


@pytest.mark.parametrize("text", ["", "10", "ten minutes", "-5m", "0s", "5 parsecs", "1e999flop", "nanm"])
def test_a_wrong_budget_is_refused_in_one_line_that_names_the_option(text):
    with pytest.raises(UserError) as caught:
        parse_amount(text, "--budget")
    assert "--budget" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_fixed_steps_come_first_and_shares_divide_the_rest():
    phases = [cost("fit", 2.0, steps=10), cost("one", 1.0, share=1.0), cost("two", 4.0, share=3.0)]
    assert commit(phases, 420.0) == (10, 100, 75)


def test_an_early_end_hands_what_is_left_to_the_phases_after_it():
    phases = [cost("one", 1.0), cost("two", 1.0), cost("three", 2.0)]
    planned = share_out(phases, 300.0)
    assert planned == (100, 100, 50)
    # the first phase ended after 40 steps: the other two share 260 instead of 200
    assert share_out(phases[1:], 300.0 - 40.0) == (130, 65)


def test_a_budget_for_fewer_than_fifty_steps_is_refused_with_what_it_takes():
    with pytest.raises(BudgetTooSmall, match=r"49 steps.*50 are the least.*raise --budget"):
        commit([cost("train", 2.0)], 98.0)


def test_a_control_may_have_fewer_steps_than_a_method():
    assert commit([cost("train", 2.0)], 6.0, least=1) == (3,)
    with pytest.raises(BudgetTooSmall, match=r"0 steps, 1 are the least .it needs 2 for them"):
        commit([cost("train", 2.0)], 0.5, least=1)


def test_a_share_of_a_budget_in_which_a_step_costs_nothing_is_refused():
    with pytest.raises(BudgetTooSmall, match="phase 'fit' cost nothing in this unit"):
        commit([cost("fit", 0.0), cost("train", 1.0)], 900.0)
    assert commit([cost("fit", 0.0, steps=5), cost("train", 1.0)], 900.0) == (5, 900)


def test_a_budget_below_the_fixed_phases_is_refused():
    with pytest.raises(BudgetTooSmall):
        commit([cost("fit", 10.0, steps=100), cost("train", 1.0)], 900.0)


phase_lists = st.lists(
    st.builds(
        cost,
        st.text("abc", min_size=1, max_size=3),
        st.floats(0.01, 10.0),
        st.one_of(st.none(), st.integers(0, 30)),
        st.floats(0.1, 5.0),
    ),
    min_size=1,
    max_size=5,
).filter(lambda phases: any(one.steps is None for one in phases))


@given(phase_lists, st.floats(0.0, 1e5))
def test_whatever_the_phases_a_commitment_lies_within_half_the_last_step_of_its_budget(phases, amount):
    least = minimum_amount(phases)
    total = least + amount
    steps = commit(phases, total)
    last = [one for one in phases if one.steps is None][-1]
    assert abs(spend(phases, steps) - total) <= last.cost * 0.5 + 1e-6 * total
    assert sum(steps) >= MINIMUM_STEPS - len(phases)


@given(st.floats(0.01, 10.0), st.floats(1.0, 1e6))
def test_a_single_phase_of_at_least_fifty_steps_spends_its_budget_within_one_percent(price, extra):
    total = 50 * price + extra
    steps = commit([cost("train", price)], total)
    assert spend([cost("train", price)], steps) == pytest.approx(total, rel=0.01)


def test_a_budget_that_is_too_small_says_its_unit_and_what_to_raise():
    with pytest.raises(BudgetTooSmall, match=r"it needs 100 epochs for them, the budget is 6 epochs\); raise --teacher-budget$"):
        commit([cost("train", 2.0)], 6.0, unit="epochs", advice=TEACHER_TOO_SMALL)
