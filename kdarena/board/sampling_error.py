"""The test set's own noise: how much a difference to the plain student would be another one on another test set of the same size.

Seeds are tested, and the test set is one for all of them: more seeds don't make its error smaller. A paired bootstrap over test samples gives it:
the same resampled samples for a method, the student and all seeds (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 6).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kdarena.board.variants import Variant
from kdarena.record.recorded import RecordedRun
from kdarena.record.samples import ReadSamples
from kdarena.tracks.samples import Form, Samples, metric_of

RESAMPLES = 500
AT_ONCE = 2_000_000
"""Weights of resampled samples that are held at once."""


class SamplingError:
    """The error of a board's differences from its test set alone.

    Args:
        read: gives what a run scored on each test sample; None: nothing is known.
        student: the plain student's variants, of which the first counts.
        variants: the board's, whose errors are asked for.
        metric: as ``test/top1``.
    """

    def __init__(self, read: ReadSamples | None, student: Sequence[Variant], variants: Iterable[Variant], metric: str):
        self._student, self._metric = student[0] if student else None, metric
        known: dict[str, Samples] = {}
        if read is not None and self._student is not None:
            known = _read_all(read, self._student.finished)
            # without the student's samples nothing can be said, and nothing else is read
            known |= _read_all(read, [run for variant in variants for _, run in self._pairs(variant) if known])
        self._resampled = _resampled(known)

    def error(self, variant: Variant) -> float | None:
        """Standard error of a variant's mean difference to the student, in the unit of the metric; None where it is the student, or a run that
        counts says nothing of its samples."""
        pairs = self._pairs(variant)
        resampled = [self._resampled.get(run.key) for pair in pairs for run in pair]
        sizes = {one[0] for one in resampled if one is not None}
        if not pairs or None in resampled or len(sizes) > 1:
            return None
        alone, own = ([one[1] for one in resampled[place::2] if one is not None] for place in (0, 1))
        return float(np.std(np.mean(own, axis=0) - np.mean(alone, axis=0), ddof=1))

    def _pairs(self, variant: Variant) -> list[tuple[RecordedRun, RecordedRun]]:
        """The student's run and a variant's of every seed that both have."""
        if self._student is None or variant is self._student:
            return []
        seeds = sorted(variant.values(self._metric).keys() & self._student.values(self._metric).keys())
        return [(self._student.runs[seed], variant.runs[seed]) for seed in seeds]


def _read_all(read: ReadSamples, runs: Iterable[RecordedRun]) -> dict[str, Samples]:
    """What is known of runs, by their keys."""
    return {run.key: samples for run in runs if (samples := read(run)) is not None}


def _resampled(known: Mapping[str, Samples]) -> dict[str, tuple[int, NDArray[np.float64]]]:
    """By the keys of runs the number of test samples, and the run's metric on each resampled set [RESAMPLES]."""
    alike: dict[tuple[Form, tuple[int, ...]], list[str]] = {}
    for key, samples in known.items():
        alike.setdefault((samples.form, samples.counts.shape), []).append(key)
    resampled: dict[str, tuple[int, NDArray[np.float64]]] = {}
    for (form, shape), keys in alike.items():
        metrics = metric_of(form, resampled_sums(np.stack([known[key].counts for key in keys], axis=1)))
        resampled |= {key: (shape[0], metrics[:, place]) for place, key in enumerate(keys)}
    return resampled


def resampled_sums(counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Sums of counts [N, …] over the samples of each resampled set [RESAMPLES, …]; the same sets for the same N."""
    flat = counts.reshape(len(counts), -1).astype(np.float32)
    rows = max(1, AT_ONCE // len(counts))
    parts = [weights(len(counts), start, min(rows, RESAMPLES - start)) @ flat for start in range(0, RESAMPLES, rows)]
    return np.concatenate(parts).reshape(RESAMPLES, *counts.shape[1:])


@functools.lru_cache(maxsize=4)
def weights(samples: int, start: int, count: int) -> NDArray[np.float32]:
    """How often each sample is drawn in each of the resampled sets from ``start`` on [count, N]."""
    drawn = np.random.default_rng((samples, start)).integers(samples, size=(count, samples))
    places = drawn + samples * np.arange(count)[:, None]
    return np.bincount(places.ravel(), minlength=count * samples).reshape(count, samples).astype(np.float32)
