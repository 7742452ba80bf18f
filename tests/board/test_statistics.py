import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kdarena.board.statistics import MOST_SEEDS, detectable_difference, mean_interval, paired_difference, power, seeds_needed

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
    assert (found.mean, found.low, found.high, found.deviation) == (3.0, None, None, None)


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


@pytest.mark.parametrize("seeds", [2, 3, 5, 10, 30])
def test_power_is_that_of_scipys_noncentral_t(seeds):
    critical, noncentrality = stats.t.ppf(0.975, seeds - 1), 0.7 * math.sqrt(seeds)
    expected = stats.nct.sf(critical, seeds - 1, noncentrality) + stats.nct.cdf(-critical, seeds - 1, noncentrality)
    assert power(0.7, seeds) == pytest.approx(expected, rel=1e-6)


def test_without_an_effect_power_is_the_level_of_the_test():
    assert power(0.0, 6, alpha=0.03) == pytest.approx(0.03)


@pytest.mark.parametrize("seeds", [2, 5])
def test_a_simulated_t_test_finds_the_detectable_difference_in_four_cases_of_five(seeds):
    difference = detectable_difference(0.6, seeds)
    draws = np.random.default_rng(0).normal(difference, 0.6, (40_000, seeds))
    found = stats.ttest_1samp(draws, 0.0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.01)


def test_with_many_seeds_the_detectable_difference_is_the_normal_approximation():
    expected = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) / math.sqrt(1000)
    assert detectable_difference(1.0, 1000) == pytest.approx(expected, rel=2e-3)


@given(st.floats(1e-3, 100), st.integers(2, 200))
@settings(deadline=None)
def test_the_detectable_difference_grows_with_the_spread_and_shrinks_with_seeds(deviation, seeds):
    found = detectable_difference(deviation, seeds)
    assert detectable_difference(2 * deviation, seeds) == pytest.approx(2 * found)
    assert detectable_difference(deviation, seeds + 1) < found


def test_with_one_seed_nothing_is_detectable():
    assert detectable_difference(1.0, 1) is None


@given(st.floats(0.15, 5))
@settings(deadline=None)
def test_the_seeds_needed_are_the_fewest_with_enough_power(effect):
    needed = seeds_needed(effect, 1.0)
    assert power(effect, needed) >= 0.8
    assert needed == 2 or power(effect, needed - 1) < 0.8


def test_a_difference_that_needs_too_many_seeds_is_out_of_reach():
    assert seeds_needed(0.01, 1.0) is None
    edge = detectable_difference(1.0, MOST_SEEDS)
    assert seeds_needed(edge * 1.001, 1.0) in (MOST_SEEDS - 2, MOST_SEEDS - 1, MOST_SEEDS)
    assert seeds_needed(edge * 0.999, 1.0) is None


def test_no_difference_is_out_of_reach_and_a_certain_one_needs_two_seeds():
    assert seeds_needed(0.0, 1.0) is None
    assert seeds_needed(-0.5, 0.0) == 2
