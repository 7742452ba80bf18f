"""Moderated variances, against the distribution that they are drawn from."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import polygamma

from kdarena.board.moderation import moderated_variances, trigamma_inverse


def noisy(methods=40, seeds=5, scale=1.0, random=0):
    return 90 + np.broadcast_to(scale, methods)[:, None] * np.random.default_rng(random).standard_normal((methods, seeds))


def spread(values):
    logs = np.log(values)
    return float(logs.std())


@pytest.mark.parametrize("place", [0.05, 0.5, 1.0, 7.0, 900.0])
def test_the_inverse_of_the_trigamma_function_inverts_it(place):
    assert trigamma_inverse(float(polygamma(1, place))) == pytest.approx(place, rel=1e-9)


def test_moderated_variances_scatter_less_than_those_of_each_method():
    values = noisy()
    found = moderated_variances(values)
    assert spread(found.variances) < 0.6 * spread(values.var(1, ddof=1))
    assert found.variances.mean() == pytest.approx(1.0, abs=0.25)


def test_of_many_methods_with_one_variance_the_estimates_are_nearly_that_one():
    found = moderated_variances(noisy(methods=3000, seeds=4))
    assert found.prior > 20
    assert np.abs(np.log(found.variances)).max() < 0.4


def test_the_freedom_that_the_variances_were_drawn_with_is_not_overstated():
    random, prior = np.random.default_rng(1), 6.0
    values = noisy(methods=4000, seeds=6, scale=np.sqrt(prior / random.chisquare(prior, 4000)))
    found = moderated_variances(values)
    assert 0.8 * prior < found.prior <= 1.05 * prior


def test_the_centre_is_that_of_the_distribution():
    random, prior, seeds = np.random.default_rng(2), 6.0, 6
    found = moderated_variances(noisy(methods=4000, seeds=seeds, scale=np.sqrt(prior / random.chisquare(prior, 4000))))
    # the mean of an inverse chi-square variance is prior / (prior - 2) times its centre, here 1
    expected = (prior + (seeds - 1) * prior / (prior - 2)) / (prior + seeds - 1)
    assert found.variances.mean() == pytest.approx(expected, rel=0.04)


def test_what_a_common_effect_of_few_methods_takes_of_their_variances_is_given_back():
    means = [moderated_variances(noisy(methods=6, seeds=4, random=random)).variances.mean() for random in range(200)]
    assert 0.75 < np.mean(means) < 1.05


def test_a_method_that_scatters_much_more_than_the_others_keeps_a_large_variance():
    scale = np.ones(30)
    scale[7] = 10.0
    found = moderated_variances(noisy(methods=30, scale=scale))
    assert found.variances.argmax() == 7
    assert found.variances[7] > 20 * np.median(found.variances)


def test_what_all_methods_have_in_common_in_a_seed_is_no_noise_of_theirs():
    values = noisy(methods=30)
    shared = values + 20 * np.random.default_rng(5).standard_normal(5)
    assert moderated_variances(shared).variances == pytest.approx(moderated_variances(values).variances, rel=0.05)


matrices = st.integers(0, 10_000).map(lambda random: noisy(methods=9, seeds=4, scale=np.exp(np.random.default_rng(random).standard_normal(9)), random=random))


@given(matrices, st.floats(0.01, 100), st.floats(-100, 100))
@settings(deadline=None)
def test_variances_stretch_with_the_square_of_the_unit_and_do_not_move_with_the_values(values, factor, shift):
    plain, other = moderated_variances(values), moderated_variances(factor * values + shift)
    assert other.variances == pytest.approx(factor**2 * plain.variances, rel=1e-6)
    assert other.prior == pytest.approx(plain.prior, rel=1e-6)


@given(matrices, st.permutations(range(9)), st.permutations(range(4)))
@settings(deadline=None)
def test_the_order_of_methods_and_seeds_changes_nothing(values, methods, seeds):
    plain, other = moderated_variances(values), moderated_variances(values[methods][:, seeds])
    assert other.variances == pytest.approx(plain.variances[methods], rel=1e-9)


@pytest.mark.parametrize("values", [np.full((7, 3), 50.0), np.zeros((7, 3)), np.arange(7.0)[:, None] + np.array([0.0, 1.1, 2.7])])
def test_where_no_method_deviates_from_the_others_there_is_no_variance(values):
    assert moderated_variances(values) is None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("constant", [1, 5, 6])
def test_methods_without_any_deviation_among_others_have_a_small_variance(constant):
    values = noisy(methods=7, seeds=3)
    values[:constant] = 50.0
    found = moderated_variances(values)
    assert np.isfinite(found.variances).all() and (found.variances > 0).all()
    assert found.variances[0] <= found.variances[6]


@pytest.mark.filterwarnings("error")
def test_equal_variances_are_taken_as_one_and_the_prior_is_infinite():
    # one pattern of deviations in another order for each method: their variances are the same by construction
    pattern = np.array([-3.0, -1.0, 0.0, 1.0, 3.0, 0.5, -0.5, 2.0, -2.0])
    values = np.array([np.random.default_rng(row).permutation(pattern) for row in range(400)])
    found = moderated_variances(values)
    assert math.isinf(found.prior)
    assert found.variances == pytest.approx(np.full(400, pattern.var(ddof=1)), rel=0.05)
