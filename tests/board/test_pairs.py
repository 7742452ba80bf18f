"""Tests of all pairs, Holm's correction and rank intervals, against definitions and scipy."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kdarena.board.moderation import moderated_variances
from kdarena.board.pairs import compare_pairs, holm, rank_intervals


def made_up(methods, seeds, random=0, effects=0.0):
    draw = np.random.default_rng(random)
    scale = np.exp(0.5 * draw.standard_normal(methods))[:, None]
    return 90 + np.broadcast_to(effects, methods)[:, None] + draw.standard_normal(seeds) + scale * draw.standard_normal((methods, seeds))


matrices = st.tuples(st.sampled_from([2, 4, 6, 9]), st.integers(2, 5), st.integers(0, 10_000)).map(
    lambda drawn: made_up(*drawn, effects=np.arange(drawn[0]) % 3 * 2.0)
)


@pytest.mark.parametrize("methods", [2, 5])
def test_below_six_methods_the_tests_are_scipys_paired_t_tests(methods):
    values = made_up(methods, 4)
    pairs = compare_pairs(values)
    for one, other in itertools.permutations(range(methods), 2):
        expected = stats.ttest_rel(values[one], values[other])
        assert pairs.p[one, other] == pytest.approx(expected.pvalue)
        assert pairs.differences[one, other] == pytest.approx(values[one].mean() - values[other].mean())
    assert (pairs.freedom, pairs.prior) == (3, 0)


def test_from_six_methods_on_the_statistic_has_the_moderated_variances_of_both_methods():
    values = made_up(6, 4)
    pairs, found = compare_pairs(values), moderated_variances(values)
    statistic = (values[0].mean() - values[5].mean()) / np.sqrt((found.variances[0] + found.variances[5]) / 4)
    assert pairs.freedom == pytest.approx(found.prior + 3)
    assert pairs.p[0, 5] == pytest.approx(2 * stats.t.sf(abs(statistic), pairs.freedom))


@given(matrices, st.floats(0.01, 100), st.floats(-100, 100))
@settings(deadline=None)
def test_no_p_depends_on_the_unit_of_the_metric_or_on_a_constant(values, factor, shift):
    assert compare_pairs(factor * values + shift).p == pytest.approx(compare_pairs(values).p, rel=1e-5, abs=1e-12)


@given(matrices, st.randoms())
@settings(deadline=None)
def test_no_p_depends_on_the_order_of_methods_or_seeds(values, order):
    rows, columns = (order.sample(range(size), size) for size in values.shape)
    assert compare_pairs(values[rows][:, columns]).p == pytest.approx(compare_pairs(values).p[np.ix_(rows, rows)], rel=1e-6)


def closed_holm(p, alpha=0.05):
    """Rejections by the closure principle: a hypothesis falls where every intersection with it does by Bonferroni."""
    count = len(p)
    sets = [subset for size in range(1, count + 1) for subset in itertools.combinations(range(count), size)]
    falls = {subset: min(p[one] for one in subset) <= alpha / len(subset) for subset in sets}
    return [all(falls[subset] for subset in sets if one in subset) for one in range(count)]


@given(st.lists(st.sampled_from([0.0, 0.001, 0.005, 0.01, 0.0125, 0.02, 0.03, 0.049, 0.5, 1.0]), min_size=1, max_size=6))
def test_holm_rejects_what_the_closure_of_bonferroni_rejects(p):
    assert list(holm(np.array(p)) <= 0.05) == closed_holm(p)


def test_holms_adjusted_values_are_those_computed_by_hand():
    assert holm(np.array([0.04, 0.01, 0.03])) == pytest.approx([0.06, 0.03, 0.06])
    assert holm(np.array([0.5, 0.9])) == pytest.approx([1.0, 1.0])
    assert len(holm(np.array([]))) == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_an_adjusted_p_is_between_the_raw_one_and_bonferronis(p):
    raw = np.array(p)
    found = holm(raw)
    assert (raw <= found + 1e-15).all() and (found <= np.minimum(len(raw) * raw, 1) + 1e-12).all()
    assert (np.diff(found[np.argsort(raw, kind="stable")]) >= 0).all()


@given(matrices)
@settings(deadline=None)
def test_a_rank_interval_contains_the_place_by_the_mean(values):
    low, high = rank_intervals(compare_pairs(values))
    place = stats.rankdata(-values.mean(1))
    assert (low >= 1).all() and (low <= place).all() and (place <= high).all() and (high <= len(values)).all()


@given(matrices)
@settings(deadline=None)
def test_a_rank_interval_counts_the_methods_that_are_significantly_better_and_worse(values):
    pairs = compare_pairs(values)
    every = list(itertools.combinations(range(len(values)), 2))
    adjusted = dict(zip(every, holm(np.array([pairs.p[pair] for pair in every])), strict=True))
    low, high = rank_intervals(pairs)
    for one in range(len(values)):
        beaten_by = [other for other in range(len(values)) if other != one and adjusted[min(one, other), max(one, other)] <= 0.05]
        better = sum(values[other].mean() > values[one].mean() for other in beaten_by)
        assert (low[one], high[one]) == (1 + better, len(values) - (len(beaten_by) - better))


@given(matrices)
@settings(deadline=None)
def test_no_method_that_is_shown_to_be_worse_than_the_control_may_be_the_first(values):
    pairs = compare_pairs(values)
    low, high = rank_intervals(pairs, 0)
    for place, p in enumerate(holm(pairs.p[1:, 0]), 1):
        if p <= 0.05:
            worse, better = (place, 0) if values[place].mean() < values[0].mean() else (0, place)
            assert low[worse] > 1 and high[better] < len(values)


def test_the_control_is_a_place_ahead_of_what_only_the_tests_against_it_show_to_be_worse():
    values = made_up(12, 5)
    values[0] += next(gain for gain in np.arange(0, 9, 0.01) if (holm(compare_pairs(shifted(values, gain)).p[1:, 0]) <= 0.05).any())
    pairs = compare_pairs(values)
    assert rank_intervals(pairs)[0].max() == 1
    assert sorted(rank_intervals(pairs, 0)[0])[-1] == 2


def shifted(values, gain):
    """With a gain for the first method."""
    return values + np.where(np.arange(len(values)) == 0, gain, 0)[:, None]


def test_methods_far_apart_have_a_place_each_and_equal_ones_share_all():
    low, high = rank_intervals(compare_pairs(made_up(8, 5, effects=np.arange(8) * 100.0)))
    assert list(low) == list(high) == [8, 7, 6, 5, 4, 3, 2, 1]
    low, high = rank_intervals(compare_pairs(made_up(8, 5)))
    assert {*low, *high} == {1, 8}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("methods", [2, 7])
@pytest.mark.parametrize("seeds", [2, 5])
def test_without_any_variation_nothing_is_tested(methods, seeds):
    for values in (np.full((methods, seeds), 50.0), np.tile(np.arange(methods)[:, None] * 10.0, seeds), np.tile(np.arange(seeds) * 1.1, (methods, 1))):
        pairs = compare_pairs(values)
        assert (pairs.p == 1).all() and (pairs.variances == 0).all()
        assert [list(ends) for ends in rank_intervals(pairs)] == [[1] * methods, [methods] * methods]


@pytest.mark.filterwarnings("error")
def test_a_constant_difference_of_a_pair_is_no_certainty():
    values = made_up(3, 4) * [0.001, 0.03, 1.0, 20.0]  # of sizes at which the sum is rounded differently
    values[1] = values[0] + 0.1
    assert len(set(values[1] - values[0])) > 1
    pairs = compare_pairs(values)
    assert (pairs.p[0, 1], pairs.variances[0, 1]) == (1, 0)
    assert pairs.variances[0, 2] > 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("methods", [4, 8])
def test_a_method_that_equals_another_in_every_seed_does_not_differ_from_it(methods):
    values = made_up(methods, 4)
    values[2] = values[0]
    assert compare_pairs(values).p[0, 2] == 1


@pytest.mark.filterwarnings("error")
def test_one_method_alone_has_the_first_and_last_place():
    assert [list(ends) for ends in rank_intervals(compare_pairs(made_up(1, 3)))] == [[1], [1]]
