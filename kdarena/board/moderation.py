"""How much a method's runs differ from seed to seed, learned from all methods of a board together.

Three or five seeds say little of one method's variance; the variances of thirty methods say a lot of what a variance is on this board. They are taken as
drawn from one scaled inverse chi-square distribution, and each method's own estimate is moved towards its centre, by so much as the estimates scatter no more
than chance has it (Smyth, Linear models and empirical Bayes methods, 2004).

Three terms make it safe here. What all methods have in common in a seed (a lucky split) is removed first, since it cancels in every difference. Variances of
methods are moderated, never those of differences to the student, which all hold the student's noise and so scatter too little. And the spread of the
variances is taken SPREAD_ERRORS standard errors above its estimate, so that less is moved than the data suggest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, polygamma

Array = NDArray[np.float64]

FEWEST_METHODS = 6
"""With fewer there is too little to learn a distribution from."""
SPREAD_ERRORS = 2.0
ROUNDS = 5
"""Of estimating the seeds' common effect and the variances in turn; the figures of docs/statistics.md hold for so many."""
LEAST_PART = 1e-5
"""Part of a typical variance that a smaller one counts as where logarithms are taken."""
LEAST_SPREAD = 1e-3
"""A spread of log variances below this is none: the variances are equal."""
RESOLUTION = 1e-9
"""Part of the largest value below which a deviation is rounding and nothing that was measured."""


@dataclass(frozen=True)
class Moderated:
    """The moderated variances of a board.

    Attributes:
        variances: of one run of each method, [M], above 0.
        prior: degrees of freedom that the other methods contribute to each estimate; infinite where the variances are equal.
    """

    variances: Array
    prior: float


def moderated_variances(values: Array) -> Moderated | None:
    """The variances of methods, what their seeds have in common removed; None where no method deviates from the others in any seed.

    Args:
        values: of a metric, [M, R]: a row a method, a column a seed, at least FEWEST_METHODS rows and two columns.
    """
    freedom = values.shape[1] - 1
    centred = values - values.mean(1, keepdims=True)
    if not varies(centred - centred.mean(0), values):
        return None
    variances = (centred**2).sum(1) / freedom
    for _ in range(ROUNDS):
        prior, centre = _distribution(variances, freedom)
        moderated = np.full_like(variances, centre) if math.isinf(prior) else (prior * centre + freedom * variances) / (prior + freedom)
        weights = 1 / moderated
        in_common = (weights[:, None] * centred).sum(0) / weights.sum()
        # the weighted mean over methods takes 1 / sum(weights) of each variance with it
        variances = ((centred - in_common) ** 2).sum(1) / freedom + 1 / weights.sum()
    return Moderated(moderated, prior)


def varies(deviations: Array, values: Array) -> bool:
    """Whether deviations are more than the rounding of the values that they were computed from."""
    return bool(np.abs(deviations).max() > RESOLUTION * np.abs(values).max())


def _distribution(variances: Array, freedom: int) -> tuple[float, float]:
    """Freedom and centre of the distribution that the variances come from, of which each was estimated with ``freedom``."""
    typical = float(np.median(variances)) or float(variances.mean())
    logs = np.log(np.maximum(variances, LEAST_PART * typical)) - digamma(freedom / 2) + math.log(freedom / 2)
    by_chance = float(polygamma(1, freedom / 2))
    spread = float(logs.var(ddof=1)) - by_chance
    error = math.sqrt((float(polygamma(3, freedom / 2)) + 2 * (by_chance + max(spread, 0.0)) ** 2) / len(variances))
    spread += SPREAD_ERRORS * error
    if spread < LEAST_SPREAD:
        return math.inf, float(variances.mean())
    half = trigamma_inverse(spread)
    return 2 * half, math.exp(float(logs.mean()) + float(digamma(half)) - math.log(half))


def trigamma_inverse(value: float) -> float:
    """Where the trigamma function has a value above 0: by Newton's method on its reciprocal, which is convex and nearly a line."""
    place = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(polygamma(1, place))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, place))
        place += step
        if abs(step) < 1e-12 * place:
            break
    return place
