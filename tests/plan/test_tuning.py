"""How many trials a tuning budget holds, and how they are used."""

import pytest

from kdarena.plan.spec import PhaseCost
from kdarena.plan.tuning import GUIDED, Scheme, scheme, scheme_of, trial_amount, why_untuned


def costs(step, fixed=None):
    """Of a method, and of one with a phase of so many fixed steps before it."""
    phases = [PhaseCost("train", None, 1.0, step, 1.0, 0.0, 1)]
    return phases if fixed is None else [PhaseCost("fit", fixed, 0.0, step, 1.0, 0.0, 1), *phases]


@pytest.mark.parametrize(
    ("trials", "candidates", "seeds"),
    [
        (2, 2, 0),
        (3, 3, 0),
        (4, 2, 1),
        (5, 3, 1),
        (6, 4, 1),
        (7, 5, 1),
        (8, 4, 2),
        (9, 5, 2),
        (10, 6, 2),
        (11, 7, 2),
        (12, 6, 3),
        (13, 7, 3),
        (26, 20, 3),
        (100, 94, 3),
    ],
)
def test_trials_are_used_for_candidates_on_one_seed_and_a_comparison_on_fresh_ones(trials, candidates, seeds):
    assert scheme(trials) == Scheme(candidates, seeds)
    assert scheme(trials).trials == trials


def test_with_fewer_than_two_trials_there_is_nothing_to_compare():
    assert scheme(0) is scheme(1) is None


def test_candidates_follow_from_the_scores_before_them_where_there_are_twenty_of_them():
    assert [scheme(trials).guided for trials in (25, 26)] == [False, True]
    assert scheme(26).candidates == GUIDED


@pytest.mark.parametrize(("step", "amount"), [(0.1, 12.5), (0.25, 12.5), (0.5, 25.0), (3.0, 100.0)])
def test_a_trial_is_an_eighth_of_a_run_or_fifty_steps_and_never_more_than_a_run(step, amount):
    assert trial_amount(costs(step), 100.0) == pytest.approx(amount)


def test_the_fifty_steps_hold_a_phase_of_fixed_steps():
    assert trial_amount(costs(1.0, fixed=80), 200.0) == pytest.approx(81.0)


@pytest.mark.parametrize(("step", "trials"), [(0.1, 12), (0.25, 12), (0.375, 8), (0.5, 6), (1.0, 3), (1.5, 2), (1.51, None), (2.0, None)])
def test_the_more_a_step_costs_the_fewer_trials_one_and_a_half_budgets_hold(step, trials):
    made = scheme_of(costs(step), 100.0, 150.0)
    assert (made and made.trials) == trials


def test_what_is_not_tuned_though_others_are_has_a_reason():
    assert why_untuned(costs(2.0), 100.0, 150.0) == "not tuned: 1.5 budgets hold no two trials of 50 steps"
    assert why_untuned(costs(0.1), 100.0, 20.0) == "not tuned: 0.2 budgets hold no two trials of 0.125 of a run's budget"
    assert why_untuned(costs(0.1), 100.0, 150.0) is None
    assert why_untuned(costs(2.0), 100.0, 0.0) is None
