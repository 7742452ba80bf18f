import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdarena.plan.amounts import Amount
from kdarena.plan.race_plan import RaceLevel, as_stated, fitted, race_levels, race_seconds, racing_amount, shortest_race_seconds
from kdarena.plan.spec import PhaseCost


def costs(*each):
    """Methods with one phase, whose steps cost so many seconds."""
    return {f"m{number}": (PhaseCost("train", None, 1.0, cost, None, None, 0),) for number, cost in enumerate(each)}


STEPS = costs(0.002, 0.004, 0.004, 0.01, 0.02)


@given(st.floats(100.0, 1e5))
def test_what_is_fitted_to_a_time_takes_no_longer(seconds):
    plan = fitted(STEPS, seconds, 0.1, 200, 0.016, race_levels(None, None))
    assert race_seconds(STEPS, plan.amount, RaceLevel(plan.settings, plan.seeds), 0.1) <= seconds * 1.001


@given(st.floats(10.0, 1e4), st.floats(1.0, 3.0))
def test_more_time_never_gives_less(seconds, factor):
    less, more = (fitted(STEPS, time, 0.1, 200, 0.016, race_levels(None, None)) for time in (seconds, factor * seconds))
    assert (less.seeds, less.settings, less.amount) <= (more.seeds, more.settings, more.amount) or more.settings > less.settings


def test_where_time_is_short_the_budget_gives_way_first_then_settings_then_seeds():
    levels = race_levels(None, None)
    needs = [race_seconds(STEPS, 1.0, level, 0.1) for level in levels]
    plans = [fitted(STEPS, need, 0.1, 200, 0.016, levels) for need in needs]
    assert [(plan.settings, plan.seeds) for plan in plans] == [(4, 5), (3, 5), (2, 5), (2, 4), (2, 3)]
    assert [plan.amount for plan in plans] == pytest.approx([1.0] * 5)
    assert "fresh seeds instead of 5" in plans[-1].notes[-1]


def test_with_the_full_schedule_more_time_gives_more_settings():
    plan = fitted(STEPS, 1e6, 0.1, 200, 0.016, race_levels(None, None))
    assert (plan.amount, plan.settings, plan.notes) == (pytest.approx(3.2), 16, ())


def test_settings_that_the_user_stated_are_not_changed():
    assert race_levels(7, None) == (RaceLevel(7, 5), RaceLevel(7, 4), RaceLevel(7, 3))
    assert race_levels(None, 4)[-1] == RaceLevel(2, 4)


def test_a_run_of_a_rung_has_its_part_of_the_budget_but_no_less_than_the_method_needs():
    (cost,) = costs(0.01).values()
    assert racing_amount(cost, 8.0, 1 / 8) == 1.0
    assert racing_amount(cost, 2.0, 1 / 8) == 0.5


def test_a_stated_budget_is_kept_in_its_unit():
    plan = as_stated(Amount(3e10, "flop"), None, None, None, 8)
    assert (plan.amount, plan.unit, plan.stated, plan.settings, plan.seeds) == (3e10, "flop", "3e+10flop", 4, 5)


@pytest.mark.parametrize("level", race_levels(None, None))
def test_the_shortest_race_takes_less_than_the_planned(level):
    assert 0 < shortest_race_seconds(STEPS, 1.0, level, 0.1) < race_seconds(STEPS, 1.0, level, 0.1) / 2
