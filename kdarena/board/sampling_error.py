"""The test set's own noise: how much a difference to the plain student would be another one on another test set of the same size.

Seeds are tested, and the test set is one for all of them: more seeds don't make its error smaller. A paired bootstrap over test samples gives it:
the same resampled samples for a method, the student and all seeds (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 6).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kdarena.board.variants import Variant
from kdarena.record.recorded import RecordedRun
from kdarena.record.samples import ReadSamples
from kdarena.tracks.samples import metric_of

RESAMPLES = 500
AT_ONCE = 2_000_000
"""Weights of resampled samples that are held at once."""


class SamplingError:
    """The error of a board's differences from its test set alone.

    Args:
        read: gives what a run scored on each test sample; None: nothing is known.
        student: the plain student's variants, the default one first; the first counts.
    """

    def __init__(self, read: ReadSamples | None, student: Sequence[Variant]):
        self._read, self._student = read, student[0] if student else None
        self._resampled: dict[str, tuple[int, NDArray[np.float64]] | None] = {}

    def error(self, variant: Variant, metric: str) -> float | None:
        """Standard error of a variant's mean difference to the student, in the unit of the metric; None where it is the student, or a run that
        counts says nothing of its samples.

        Args:
            metric: as ``test/top1``.
        """
        if self._student is None or variant is self._student:
            return None
        differences = []
        for seed in sorted(variant.values(metric).keys() & self._student.values(metric).keys()):
            alone = self._metric(self._student.runs[seed])
            own = None if alone is None else self._metric(variant.runs[seed])
            if alone is None or own is None or own[0] != alone[0]:
                return None
            differences.append(own[1] - alone[1])
        return float(np.std(np.mean(differences, axis=0), ddof=1)) if differences else None

    def _metric(self, run: RecordedRun) -> tuple[int, NDArray[np.float64]] | None:
        """The number of test samples, and a run's metric on each resampled set [RESAMPLES]."""
        if run.key not in self._resampled:
            samples = self._read(run) if self._read is not None else None
            self._resampled[run.key] = None if samples is None else (len(samples.counts), metric_of(samples.form, resampled_sums(samples.counts)))
        return self._resampled[run.key]


def resampled_sums(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums of counts [N, …] over the samples of each resampled set [RESAMPLES, …]; the same sets for the same N."""
    flat = counts.reshape(len(counts), -1).astype(np.float64)
    rows = max(1, AT_ONCE // len(counts))
    parts = [_weights(len(counts), start, min(rows, RESAMPLES - start)) @ flat for start in range(0, RESAMPLES, rows)]
    return np.concatenate(parts).reshape(RESAMPLES, *counts.shape[1:])


@functools.lru_cache(maxsize=4)
def _weights(samples: int, start: int, count: int) -> NDArray[np.float64]:
    """How often each sample is drawn in each of ``count`` resampled sets [count, N]."""
    drawn = np.random.default_rng((samples, start)).integers(samples, size=(count, samples))
    places = drawn + samples * np.arange(count)[:, None]
    return np.bincount(places.ravel(), minlength=count * samples).reshape(count, samples).astype(np.float64)
