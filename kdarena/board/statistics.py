"""Student's intervals over seeds: of a mean, and of a difference paired by seed. There is no bootstrap: over three seeds a nominal 95 % covers 75 %."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit


@dataclass(frozen=True)
class Interval:
    """A mean with its interval, in the unit of the values.

    Attributes:
        mean: of the values.
        low, high: ends of the interval; None with fewer than two values.
        count: number of values.
    """

    mean: float
    low: float | None
    high: float | None
    count: int


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """The mean and its two-sided t interval; None where there is no value.

    Raises:
        ValueError: a value is not finite.
    """
    if not values:
        return None
    numbers = np.asarray(values, dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError("a value is not finite")
    mean, count = float(numbers.mean()), len(numbers)
    if count < 2:
        return Interval(mean, None, None, count)
    half = float(stdtrit(count - 1, (1 + confidence) / 2)) * float(numbers.std(ddof=1)) / math.sqrt(count)
    return Interval(mean, mean - half, mean + half, count)


def paired_difference(values: Mapping[int, float], baseline: Mapping[int, float], confidence: float = 0.95) -> Interval | None:
    """Mean and t interval of ``values - baseline`` over the seeds that both have; None where they share none."""
    return mean_interval([values[seed] - baseline[seed] for seed in sorted(values.keys() & baseline.keys())], confidence)
