"""All pairs of a board's methods: whether they differ, corrected for the number of pairs, and which places that leaves to each method."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from kdarena.board.moderation import FEWEST_METHODS, Array, moderated_variances, varies
from kdarena.board.power import ALPHA, freedom_of


@dataclass(frozen=True)
class Pairs:
    """The two-sided t tests of all pairs of M methods over R seeds.

    Attributes:
        differences: mean of the row's method less that of the column's, [M, M].
        variances: of the difference in one seed, [M, M]; 0 where the pair shows none, so that there is no test.
        p: of each pair, [M, M]; 1 where there is no test.
        freedom: degrees of freedom of all tests.
        prior: those of them that other methods contributed; 0 where the tests are plain paired t tests.
    """

    differences: Array
    variances: Array
    p: Array
    freedom: float
    prior: float


def compare_pairs(values: Array) -> Pairs:
    """Test all pairs: with moderated variances, or below FEWEST_METHODS with those of the paired differences.

    Args:
        values: of a metric, [M, R]: a row a method, a column a seed that all methods have, at least one row and two columns.
    """
    methods, seeds = values.shape
    means = values.mean(1)
    differences = np.subtract.outer(means, means)
    variances, prior = _variances(values)
    freedom = float(freedom_of(seeds, prior, methods))
    tested = variances > 0
    statistics = np.divide(np.abs(differences), np.sqrt(variances / seeds), out=np.zeros_like(differences), where=tested)
    return Pairs(differences, variances, np.where(tested, 2 * stdtr(freedom, -statistics), 1.0), freedom, prior)


def _variances(values: Array) -> tuple[Array, float]:
    """Variances of the differences of all pairs in one seed, [M, M], and the freedom of their prior."""
    if len(values) >= FEWEST_METHODS:
        moderated = moderated_variances(values)
        if moderated is None:
            return np.zeros((len(values), len(values))), 0.0
        # two methods that agree by chance show no less noise than their own
        return np.add.outer(moderated.variances, moderated.variances), moderated.prior
    differences = values[:, None] - values[None]
    deviations = differences - differences.mean(-1, keepdims=True)
    seen = np.array([[varies(deviation, values) for deviation in row] for row in deviations])
    return np.where(seen, differences.var(-1, ddof=1), 0.0), 0.0


def holm(p: Array) -> Array:
    """Holm's adjusted p values of one family, [N]: at most ALPHA for those that are significant over the family (Holm 1979)."""
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return adjusted


def significant_pairs(pairs: Pairs, control: int | None = None, alpha: float = ALPHA) -> NDArray[np.bool_]:
    """Which pairs differ, [M, M]: by Holm over all of them, and against a control by Holm over its pairs alone too.

    The second finds more, so that no method is shown to be worse than the control and yet may be the first. With it the others are tested at half the level,
    with which both together keep ``alpha`` on simulated boards (``docs/statistics.md``).
    """
    methods = len(pairs.p)
    above = np.triu_indices(methods, 1)
    significant = np.zeros((methods, methods), bool)
    significant[above] = holm(pairs.p[above]) <= (alpha if control is None else alpha / 2)
    if control is not None:
        others = np.flatnonzero(np.arange(methods) != control)
        significant[others, control] |= holm(pairs.p[others, control]) <= alpha
    return significant | significant.T


def rank_intervals(pairs: Pairs, control: int | None = None, alpha: float = ALPHA) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first and the last place of each method, [M].

    The first is one more than the number of methods that are significantly better, the last leaves below those that are significantly worse.

    Args:
        control: place of the method that all others are tested against too; None: there is none.
    """
    methods = len(pairs.p)
    significant = significant_pairs(pairs, control, alpha)
    better, worse = significant & (pairs.differences < 0), significant & (pairs.differences > 0)  # the column's method than the row's
    return 1 + better.sum(1), methods - worse.sum(1)
