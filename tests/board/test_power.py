"""The power of a t test, against scipy's distributions, simulation and limits that are known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kdarena.board.power import MOST_SEEDS, detectable_difference, freedom_of, noncentrality_needed, power, seeds_needed


def paired_power(effect, seeds, alpha=0.05):
    return float(power(abs(effect) * math.sqrt(seeds), seeds - 1, alpha))


def seeds_for(difference, variance=1.0, **family):
    (found,) = seeds_needed([difference], [variance], **{"prior": 0.0, "methods": 2, "tests": 1, **family})
    return found


@pytest.mark.parametrize("seeds", [2, 3, 5, 10, 30])
def test_power_is_that_of_scipys_noncentral_t(seeds):
    critical, noncentrality = stats.t.ppf(0.975, seeds - 1), 0.7 * math.sqrt(seeds)
    expected = stats.nct.sf(critical, seeds - 1, noncentrality) + stats.nct.cdf(-critical, seeds - 1, noncentrality)
    assert paired_power(0.7, seeds) == pytest.approx(expected, rel=1e-6)


def test_power_is_computed_element_by_element():
    effects, freedom = np.array([0.0, 1.0, 3.0]), np.array([2.0, 4.0, 8.0])
    assert list(power(effects, freedom)) == [float(power(effect, free)) for effect, free in zip(effects, freedom, strict=True)]


def test_without_an_effect_power_is_the_level_of_the_test():
    assert paired_power(0.0, 6, alpha=0.03) == pytest.approx(0.03)


@given(st.floats(0, 2000), st.floats(1.001, 3), st.floats(1, 60), st.sampled_from([0.05, 0.05 / 37]))
@settings(deadline=None)
def test_power_grows_with_the_effect(effect, factor, freedom, alpha):
    small, large = (float(power(one, freedom, alpha)) for one in (effect, factor * effect))
    assert alpha * 0.999 <= small <= large + 1e-6 <= 1 + 1e-6


@given(st.floats(0.1, 5), st.floats(1, 50), st.floats(0.1, 10))
@settings(deadline=None)
def test_power_grows_with_the_freedom_and_with_the_level(effect, freedom, more):
    plain = float(power(effect, freedom))
    assert float(power(effect, freedom + more)) >= plain - 1e-9
    assert float(power(effect, freedom, 0.01)) <= plain


@pytest.mark.parametrize("freedom", [1.0, 1.3, 2.5])
def test_an_effect_beyond_the_series_has_the_power_that_simulation_gives(freedom):
    effect, alpha = 1100.0, 0.05 / 4000  # few seeds and a large family: the critical value is as large
    random = np.random.default_rng(0)
    draws = (random.standard_normal(400_000) + effect) / np.sqrt(random.chisquare(freedom, 400_000) / freedom)
    assert float(power(effect, freedom, alpha)) == pytest.approx((np.abs(draws) > stats.t.ppf(1 - alpha / 2, freedom)).mean(), abs=0.004)


@pytest.mark.parametrize("seeds", [2, 5])
def test_a_simulated_t_test_finds_the_detectable_difference_in_four_cases_of_five(seeds):
    difference = detectable_difference(0.36, seeds, seeds - 1)
    draws = np.random.default_rng(0).normal(difference, 0.6, (40_000, seeds))
    found = stats.ttest_1samp(draws, 0.0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.01)


def test_with_many_seeds_the_detectable_difference_is_the_normal_approximation():
    expected = (stats.norm.ppf(1 - 0.025 / 37) + stats.norm.ppf(0.8)) / math.sqrt(1000)
    assert detectable_difference(1.0, 1000, 999, tests=37) == pytest.approx(expected, rel=3e-3)


@given(st.floats(1e-3, 100), st.integers(2, 200), st.integers(1, 50))
@settings(deadline=None)
def test_the_detectable_difference_grows_with_the_spread_and_the_family_and_shrinks_with_seeds(variance, seeds, tests):
    found = detectable_difference(variance, seeds, seeds - 1, tests)
    assert detectable_difference(4 * variance, seeds, seeds - 1, tests) == pytest.approx(2 * found)
    assert detectable_difference(variance, seeds, seeds - 1, tests + 1) > found
    assert detectable_difference(variance, seeds + 1, seeds, tests) < found


@pytest.mark.parametrize("freedom", [1.0, 1.2, 4.0, 60.0])
@pytest.mark.parametrize("tests", [1, 37, 1000])
def test_the_noncentrality_needed_has_the_power_that_was_wanted(freedom, tests):
    needed = noncentrality_needed(freedom, 0.05 / tests)
    assert float(power(needed, freedom, 0.05 / tests)) == pytest.approx(0.8, abs=2e-3 if needed > 900 else 1e-8)


@given(st.floats(0.15, 5), st.sampled_from([0.0, 2.5, math.inf]), st.integers(1, 40))
@settings(deadline=None)
def test_the_seeds_needed_are_the_fewest_with_enough_power(effect, prior, tests):
    def enough(seeds):
        return float(power(effect * math.sqrt(seeds), float(freedom_of(seeds, prior, 40)), 0.05 / tests)) >= 0.8

    needed = seeds_for(effect, prior=prior, methods=40, tests=tests)
    assert enough(needed)
    assert needed == 2 or not enough(needed - 1)


def test_a_difference_that_needs_too_many_seeds_is_out_of_reach():
    assert seeds_for(0.01) is None
    edge = detectable_difference(1.0, MOST_SEEDS, MOST_SEEDS - 1)
    assert seeds_for(edge * 1.001) in (MOST_SEEDS - 2, MOST_SEEDS - 1, MOST_SEEDS)
    assert seeds_for(edge * 0.999) is None


def test_no_difference_is_out_of_reach_and_a_nearly_certain_one_needs_two_seeds():
    assert seeds_for(0.0) is None
    assert seeds_for(-0.5, 1e-12) == 2


def test_seeds_needed_are_of_each_difference_in_their_order():
    assert seeds_needed([1.0, 0.0, -3.0], [1.0, 1.0, 2.0], prior=0.0, methods=5, tests=4) == [seeds_for(1.0, tests=4), None, seeds_for(3.0, 2.0, tests=4)]


def test_freedom_is_never_more_than_all_runs_of_a_board_have():
    assert list(freedom_of([3, 5], 2.5, 38)) == [4.5, 6.5]
    assert float(freedom_of(3, math.inf, 38)) == 76.0
