import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kdarena.board.statistics import mean_interval, paired_difference

values = st.lists(st.floats(-100, 100, allow_subnormal=False), min_size=2, max_size=12)


def test_the_interval_is_scipys_t_interval():
    sample = [90.1, 91.3, 89.7, 90.8, 92.0]
    found = mean_interval(sample)
    expected = stats.t.interval(0.95, 4, loc=np.mean(sample), scale=stats.sem(sample))
    assert (found.low, found.high) == pytest.approx(expected)


def test_the_paired_interval_is_scipys_of_the_paired_t_test():
    first, second = {0: 91.0, 1: 90.2, 2: 92.4, 3: 91.7}, {0: 90.0, 1: 90.5, 2: 91.0, 3: 90.1}
    found = paired_difference(first, second)
    expected = stats.ttest_rel(list(first.values()), list(second.values())).confidence_interval()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_only_seeds_that_both_have_are_paired():
    found = paired_difference({0: 1.0, 1: 5.0, 7: 100.0}, {1: 3.0, 0: 2.0, 9: -100.0})
    assert (found.mean, found.count) == (0.5, 2)


def test_without_a_common_seed_there_is_no_difference():
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


def test_one_value_has_a_mean_and_no_interval():
    found = mean_interval([3.0])
    assert (found.mean, found.low, found.high) == (3.0, None, None)


def test_no_value_has_no_mean():
    assert mean_interval([]) is None


def test_a_value_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="finite"):
        mean_interval([1.0, math.nan])


@given(values, st.floats(-50, 50), st.floats(0.01, 10))
def test_intervals_move_and_stretch_with_their_values(sample, shift, factor):
    plain = mean_interval(sample)
    moved = mean_interval([factor * value + shift for value in sample])
    assert moved.low == pytest.approx(factor * plain.low + shift, abs=1e-6)
    assert moved.high == pytest.approx(factor * plain.high + shift, abs=1e-6)


@given(values)
def test_the_mean_lies_in_the_middle_of_its_interval(sample):
    found = mean_interval(sample)
    assert found.low <= found.mean <= found.high
    assert found.high - found.mean == pytest.approx(found.mean - found.low, abs=1e-9)


@given(st.lists(st.tuples(st.floats(-10, 10), st.floats(-10, 10)), min_size=2, max_size=8))
def test_swapping_both_sides_turns_the_difference_round(pairs):
    first, second = ({seed: pair[side] for seed, pair in enumerate(pairs)} for side in (0, 1))
    forth, back = paired_difference(first, second), paired_difference(second, first)
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low), abs=1e-9)
