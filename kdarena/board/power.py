"""What a two-sided t test can show: its power, the smallest difference that it finds, and how many seeds a difference needs.

The statistic of a true difference follows the noncentral t distribution (Cohen, Statistical Power Analysis for the Behavioral Sciences, 1988).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import chdtr, nctdtr, stdtrit

ALPHA = 0.05
"""Chance of a claim that is wrong, over a whole family of tests."""
WANTED = 0.8
"""Chance of finding a true difference, where that is to be likely."""
MOST_SEEDS = 1000
"""A difference that needs more seeds than this is out of reach."""
FAR = 1e3
"""A noncentrality beyond what the series of the noncentral t distribution can sum."""


def power(noncentrality: ArrayLike, freedom: ArrayLike, alpha: float = ALPHA) -> NDArray[np.float64]:
    """Chance that a two-sided t test of level ``alpha`` rejects, element by element.

    Args:
        noncentrality: the true difference in standard errors of its estimate, at least 0.
        freedom: degrees of freedom of the test.
    """
    effect, free = np.asarray(noncentrality, np.float64), np.asarray(freedom, np.float64)
    critical = stdtrit(free, 1 - alpha / 2)
    near = np.minimum(effect, FAR)
    # far from its mean the series ends as nan, in a tail that no longer matters
    below, above = (np.nan_to_num(nctdtr(free, near, bound), nan=0.0) for bound in (critical, -critical))
    # there the error of the mean is small against the mean, and only that of the variance counts
    far = chdtr(free, free * (effect / critical) ** 2)
    return np.asarray(np.where(effect > FAR, far, 1 - below + above))


def noncentrality_needed(freedom: float, alpha: float = ALPHA, wanted: float = WANTED) -> float:
    """The noncentrality at which a test of level ``alpha`` has the power ``wanted``, above ``alpha``."""
    highest = float(stdtrit(freedom, 1 - alpha / 2)) + 2
    while power(highest, freedom, alpha) < wanted:
        highest *= 1.5
    return float(brentq(lambda noncentrality: float(power(noncentrality, freedom, alpha)) - wanted, 0.0, highest, xtol=1e-10))


def detectable_difference(variance: float, seeds: int, freedom: float, tests: int = 1, alpha: float = ALPHA, wanted: float = WANTED) -> float:
    """The smallest true difference that is found with power ``wanted`` as the first of a family by Holm, in the unit of the standard deviation.

    Args:
        variance: of the difference in one seed.
        seeds: two at least.
        freedom: of the test.
        tests: number of tests in the family.
    """
    return noncentrality_needed(freedom, alpha / tests, wanted) * math.sqrt(variance / seeds)


def freedom_of(seeds: ArrayLike, prior: float, methods: int) -> NDArray[np.float64]:
    """Degrees of freedom of a board's tests: those of a method's own seeds and those of the prior, together no more than all runs of the board have."""
    own = np.asarray(seeds, np.float64) - 1
    return np.asarray(np.minimum(prior + own, methods * own))


def seeds_needed(
    differences: ArrayLike, variances: ArrayLike, *, prior: float, methods: int, tests: int, alpha: float = ALPHA, wanted: float = WANTED
) -> list[int | None]:
    """For each difference the fewest seeds at which a true one of this size is found with power ``wanted``; None beyond MOST_SEEDS.

    Args:
        differences: of methods to the same other, [N].
        variances: of each in one seed, above 0, [N].
        prior: degrees of freedom that do not depend on the number of seeds; 0 for the paired t test.
        methods: number of methods whose runs the variances were learned from.
        tests: number of tests in the family.
    """
    effects = np.abs(np.asarray(differences, np.float64)) / np.sqrt(np.asarray(variances, np.float64))

    def enough(seeds: NDArray[np.int64]) -> NDArray[np.bool_]:
        return power(effects * np.sqrt(seeds), freedom_of(seeds, prior, methods), alpha / tests) >= wanted

    few, many = np.ones(effects.shape, np.int64), np.full(effects.shape, MOST_SEEDS)
    reached = enough(many)
    for _ in range(math.ceil(math.log2(MOST_SEEDS))):  # power grows with the number of seeds: too few are not enough, many are
        middle = np.maximum((few + many) // 2, 2)
        found = enough(middle)
        few, many = np.where(found, few, middle), np.where(found, middle, many)
    return [int(seeds) if so else None for seeds, so in zip(many, reached, strict=True)]
