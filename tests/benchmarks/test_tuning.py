"""What tuning gains over the defaults, by simulation.

Scores are points of a metric. A setting's quality is what its final runs have in the mean. A trial of an eighth of the budget shows it with three errors:
what a short schedule prefers otherwise (the same in every trial of the setting), the seed's, and that of 300 validation samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from benchmarks.tools import SHORT
from kdarena.plan.tuning import TRIAL_SHARE, TUNING_SHARE, Scheme, scheme

METHODS = 2_000 if SHORT else 50_000
HORIZON, SEED, VALIDATION = 1.5, 3.7, 1.5
"""Standard deviations of the three errors, of one trial."""
SETTING = 2.0
"""Standard deviation of the qualities of one method's settings."""
DEFAULTS = {"poor": (1.5, 3.0), "average": (0.0, 2.0), "good": (-1.0, 1.0)}
"""By how much a method's settings are better than its defaults: mean, and standard deviation between methods."""
CLEARLY = 0.25
"""Points by which a choice is called worse than the defaults."""


@dataclass(frozen=True)
class Gain:
    """What was chosen less the defaults: the mean over methods, and how often it is clearly worse."""

    mean: float
    worse: float


def simulate(defaults: tuple[float, float], plan: Scheme, *, ends_early: bool = False) -> Gain:
    """Tune made-up methods.

    Args:
        ends_early: whether the defaults are kept at once where they are the best in stage one.
    """
    random = np.random.default_rng(0)
    mean, deviation = defaults
    methods = np.arange(METHODS)
    quality = (mean + deviation * random.standard_normal((METHODS, 1))) + SETTING * random.standard_normal((METHODS, plan.candidates))
    quality[:, 0] = 0.0
    shown = quality + HORIZON * random.standard_normal(quality.shape)

    def trials(expected: np.ndarray, seeds: int) -> np.ndarray:
        return expected + np.hypot(SEED, VALIDATION) * random.standard_normal((*expected.shape, seeds)).mean(-1)

    first = trials(shown, 1)
    other = 1 + first[:, 1:].argmax(1)
    differences = trials(shown[methods, other], plan.seeds) - trials(shown[:, 0], plan.seeds) if plan.seeds else np.zeros(METHODS)
    if plan.candidates == 2 or not plan.seeds:
        differences = (differences * plan.seeds + first[methods, other] - first[:, 0]) / (plan.seeds + 1)
    better = differences > 0
    if ends_early:
        better &= first.argmax(1) > 0
    gain = np.where(better, quality[methods, other], 0.0)
    return Gain(float(gain.mean()), float((gain < -CLEARLY).mean()))


@pytest.mark.benchmark
def test_tuning_gains_most_where_defaults_are_poor_and_is_seldom_worse_than_them():
    trials = round(TUNING_SHARE / TRIAL_SHARE)
    plan = scheme(trials)
    print(f"\n{trials} trials: {plan}")
    gains = {name: simulate(defaults, plan) for name, defaults in DEFAULTS.items()}
    for name, gain in gains.items():
        print(f"defaults {name:8s} {gain.mean:+.2f} points, worse than the defaults in {gain.worse:.0%}")
    assert gains["poor"].mean > gains["average"].mean > gains["good"].mean > 0.0
    assert max(gain.worse for gain in gains.values()) < 0.2


@pytest.mark.benchmark
def test_ending_the_search_where_the_defaults_are_best_in_stage_one_gains_less():
    plan = scheme(round(TUNING_SHARE / TRIAL_SHARE))
    for name, defaults in DEFAULTS.items():
        goes_on, ends = simulate(defaults, plan), simulate(defaults, plan, ends_early=True)
        print(f"defaults {name:8s} {goes_on.mean:+.2f} ({goes_on.worse:.0%} worse), ended early {ends.mean:+.2f} ({ends.worse:.0%} worse)")
        assert goes_on.mean > ends.mean


@pytest.mark.benchmark
@pytest.mark.parametrize("trials", [*range(2, 13), 20])
def test_a_second_stage_chooses_worse_than_the_defaults_less_often_than_all_trials_on_one_seed(trials):
    plan, one_stage = scheme(trials), Scheme(trials, 0)
    for name, defaults in DEFAULTS.items():
        gain, alone = simulate(defaults, plan), simulate(defaults, one_stage)
        print(
            f"{trials:2d} trials, {name:8s} {plan.candidates:2d} + 2 x {plan.seeds}: {gain.mean:+.2f} ({gain.worse:.0%} worse), one stage {alone.mean:+.2f} ({alone.worse:.0%} worse)"
        )
        assert gain.worse <= alone.worse
