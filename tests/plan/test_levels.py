"""What gives way where time is short."""

from hypothesis import given
from hypothesis import strategies as st

from kdarena.plan.amounts import Amount
from kdarena.plan.levels import FEWEST_SEEDS, Level, fitting, levels
from kdarena.plan.request import Request

LEVELS = levels(Request())


def needs(*methods):
    return [lambda level, count=count: count * level.budgets for count in methods]


def test_seeds_give_way_before_trials_and_never_below_three():
    assert (Level(5, True), Level(4, True), Level(3, True), Level(4, False), Level(3, False)) == LEVELS
    assert {level.seeds for level in LEVELS} == {5, 4, FEWEST_SEEDS}


def test_each_level_takes_less_than_those_before_it():
    taken = [level.budgets for level in LEVELS]
    assert taken == sorted(set(taken), reverse=True)


def test_stated_seeds_stay_and_without_tuning_there_are_no_trials():
    assert levels(Request(seeds=2)) == (Level(2, True), Level(2, False))
    assert levels(Request(tuning_budget=Amount(0.0, "s"))) == levels(Request(untuned=True)) == (Level(5, False), Level(4, False), Level(3, False))
    assert levels(Request(protocol="published"))[0] == Level(5, False)


def test_where_time_is_short_all_tasks_have_the_same_fewer_seeds():
    wanted = [fitting(left, needs(10, 20), LEVELS) for left in (195.0, 194.0, 150.0, 130.0, 100.0)]
    assert wanted == [([0, 1], level) for level in LEVELS]


def test_where_the_least_is_too_much_the_tasks_that_need_most_are_left_out_and_the_others_may_have_more():
    assert fitting(89.0, needs(10, 20), LEVELS) == ([0], Level(5, True))
    assert fitting(35.0, needs(20, 10), LEVELS) == ([1], Level(3, False))
    assert fitting(1.0, needs(20, 10), LEVELS) == ([1], Level(3, False))


@given(st.floats(0.0, 1000.0), st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_what_is_kept_fits_or_is_one_task(left, methods):
    kept, level = fitting(left, needs(*methods), LEVELS)
    assert kept == sorted(kept)
    assert len(kept) == 1 or sum(methods[task] for task in kept) * level.budgets <= left
