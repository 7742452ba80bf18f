"""Who goes on in a race: pure rules, on made-up scores."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdarena.plan.racing import FINALISTS, SEEDS, SHARES, Contender, finalists, noise, rungs, settled, survivors

CONTROLS = ("student", "kd")
METHODS = (*CONTROLS, "a", "b", "c", "d", "e", "f")
VALUES = st.one_of(st.floats(0, 100), st.just(-math.inf))


@st.composite
def scores_of_a_rung(draw):
    """Scores of some settings of some methods, the controls always among them, on two seeds."""
    methods = [*CONTROLS, *draw(st.sets(st.sampled_from(METHODS[2:])))]
    contenders = [Contender(method, number) for method in methods for number in range(draw(st.integers(1, 3)))]
    return {one: (draw(VALUES), draw(VALUES)) for one in contenders}


def mean(values):
    return sum(values) / len(values)


def made(**values):
    """One setting a method, on as many seeds as values are given."""
    return {Contender(method, 0): scores for method, scores in values.items()}


@given(st.integers(1, 500), st.integers(1, 8))
def test_rungs_get_longer_and_fewer_enter_each(contenders, least):
    planned = rungs(contenders, least)
    assert [rung.share for rung in planned] == list(SHARES)
    for rung, following in pairwise(planned):
        assert rung.share < following.share
        assert following.entering == rung.most
    for rung in planned:
        assert min(least, rung.entering) <= rung.keep <= rung.most <= rung.entering


@given(st.integers(1, 500))
def test_no_trial_seed_is_in_two_rungs(contenders):
    numbers = [number for rung in rungs(contenders, 6) for number in rung.seeds]
    assert len(numbers) == len(set(numbers)) == sum(SEEDS)


@given(scores_of_a_rung(), st.integers(1, 12), st.integers(0, 6))
def test_controls_always_go_on_and_nobody_better_than_a_survivor_is_out(scores, keep, more):
    chosen = survivors(scores, keep, keep + more, CONTROLS)
    assert {one.method for one in chosen} >= {*CONTROLS}
    assert len(set(chosen)) == len(chosen) <= keep + more + len(CONTROLS)
    assert set(chosen) <= set(scores)
    worst = min((mean(scores[one]) for one in chosen if one.method not in CONTROLS), default=math.inf)
    assert all(mean(scores[one]) <= worst for one in scores if one not in chosen)


@given(scores_of_a_rung(), st.integers(1, 12))
def test_a_failed_setting_of_another_method_never_goes_on(scores, keep):
    chosen = survivors(scores, keep, 2 * keep, CONTROLS)
    assert all(math.isfinite(mean(scores[one])) for one in chosen if one.method not in CONTROLS)


@given(scores_of_a_rung())
def test_final_runs_are_of_one_setting_a_method_the_best_and_of_both_controls(scores):
    chosen = finalists(scores, CONTROLS)
    methods = [one.method for one in chosen]
    assert len(set(methods)) == len(methods) and {*CONTROLS} <= {*methods} and len(methods) <= FINALISTS + len(CONTROLS)
    for one in chosen:
        assert mean(scores[one]) == max(mean(values) for other, values in scores.items() if other.method == one.method)


@given(scores_of_a_rung(), st.randoms())
def test_who_goes_on_does_not_depend_on_the_order_of_different_scores(scores, random):
    means = [mean(values) for values in scores.values()]
    if len(set(means)) < len(means):
        return
    shuffled = list(scores.items())
    random.shuffle(shuffled)
    assert survivors(scores, 3, 5, CONTROLS) == survivors(dict(shuffled), 3, 5, CONTROLS)


def test_a_setting_close_to_the_cut_goes_on_where_there_is_a_place_and_a_distant_one_does_not():
    scores = made(a=(90, 92), b=(89, 91.5), c=(88.5, 91), d=(50, 52))
    names = [one.method for one in survivors(scores, 2, 4, ())]
    assert names == ["a", "b", "c"]
    assert [one.method for one in survivors(scores, 2, 2, ())] == ["a", "b"]


def test_of_equal_settings_the_default_is_in_front():
    scores = {Contender("a", 1): (90.0, 90.0), Contender("a", 0): (90.0, 90.0)}
    assert finalists(scores, ()) == (Contender("a", 0),)


def test_what_is_common_to_all_of_a_seed_is_no_noise():
    assert noise(made(a=(90, 80), b=(88, 78), c=(70, 60), d=(1, 90))) == pytest.approx(0.0)
    assert noise(made(a=(90, 80), b=(86, 84), c=(70, 60), d=(60, 50))) > 1.0


def test_with_one_seed_nobody_knows_how_far_seeds_differ():
    one_seed = made(student=(70,), kd=(60,), a=(90,), b=(80,))
    assert noise(one_seed) == math.inf
    assert not settled(one_seed, CONTROLS)
    assert [one.method for one in finalists(one_seed, CONTROLS)] == ["a", "b", "student", "kd"]


def test_a_race_is_settled_where_one_method_is_far_ahead_and_not_where_two_are_close():
    far = made(student=(80, 81), kd=(80, 80.5), a=(90, 91), b=(80, 82), c=(70, 71))
    assert settled(far, CONTROLS)
    assert not settled({**far, Contender("d", 0): (89.9, 91.1)}, CONTROLS)


def test_one_method_in_addition_to_the_controls_is_not_settled_by_itself():
    assert not settled(made(student=(80, 81), kd=(80, 80.5), a=(90, 91)), CONTROLS)
    assert not settled(made(student=(80, 81), kd=(70, 70.5)), CONTROLS)


def test_settings_of_one_method_are_no_rivals_of_each_other():
    scores = {**made(student=(80, 81), kd=(80, 80.5), a=(90, 91), b=(70, 72)), Contender("a", 1): (90, 91)}
    assert settled(scores, CONTROLS)
    assert [one.method for one in finalists(scores, CONTROLS)] == ["a", "student", "kd"]
