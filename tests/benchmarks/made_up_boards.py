"""Boards without any true difference, in eleven kinds of noise: what a t test takes for granted, and ways in which real runs depart from it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Random = np.random.Generator
Noise = Callable[[int, int, Random], np.ndarray]


def _normal(methods: int, seeds: int, random: Random) -> np.ndarray:
    return random.standard_normal((methods, seeds))


def _scaled(scale: Callable[[int, Random], np.ndarray]) -> Noise:
    """Each method with a deviation of its own."""
    return lambda methods, seeds, random: scale(methods, random)[:, None] * _normal(methods, seeds, random)


def _shared_seeds(methods: int, seeds: int, random: Random) -> np.ndarray:
    """A seed's split and initial weights move all methods alike."""
    return _normal(methods, seeds, random) + 0.8 * random.standard_normal(seeds)


def _loads(methods: int, seeds: int, random: Random) -> np.ndarray:
    """A seed moves a method the more, the more the method scatters."""
    deviation = np.exp(0.6 * random.standard_normal(methods))[:, None]
    return deviation * (_normal(methods, seeds, random) + 0.75 * random.standard_normal(seeds))


def _skewed(methods: int, seeds: int, random: Random) -> np.ndarray:
    """A long tail to bad results, as accuracies near their ceiling have: lognormal, turned round, with mean 0 and variance 1."""
    variance = 0.36
    bad = np.exp(np.sqrt(variance) * _normal(methods, seeds, random))
    return (np.exp(variance / 2) - bad) / np.sqrt((np.exp(variance) - 1) * np.exp(variance))


def _collapses(methods: int, seeds: int, random: Random) -> np.ndarray:
    """One run in twenty ends far below the others."""
    return np.where(random.random((methods, seeds)) < 0.05, -8.0, 0.0) + _normal(methods, seeds, random)


def _every_fifth(first: int) -> Noise:
    return _scaled(lambda methods, random: np.where(np.arange(methods) % 5 == first, 5.0, 1.0))


KINDS: dict[str, Noise] = {
    "equal variances": _normal,
    "seeds shared": _shared_seeds,
    "deviations lognormal, 0.6": _scaled(lambda methods, random: np.exp(0.6 * random.standard_normal(methods))),
    "deviations lognormal, 1": _scaled(lambda methods, random: np.exp(random.standard_normal(methods))),
    "every fifth times five": _every_fifth(4),
    "the student and every fifth times five": _every_fifth(0),
    "one times six": _scaled(lambda methods, random: np.where(np.arange(methods) == methods - 1, 6.0, 1.0)),
    "seeds shared by deviation": _loads,
    "heavy tails": lambda methods, seeds, random: random.standard_t(4, (methods, seeds)) / np.sqrt(2),
    "skewed": _skewed,
    "runs that collapse": _collapses,
}
"""By name, what draws the noise of a board, [methods, seeds], in units of a typical deviation; row 0 is the student."""


def half_better(methods: int) -> np.ndarray:
    """True means of methods of which every second equals the student, and the others are better by half to eight deviations."""
    effects = np.zeros(methods)
    effects[1::2] = np.linspace(0.5, 8, methods // 2)
    return effects
