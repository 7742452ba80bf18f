"""A method against the plain student at the same number of updates: the student alone is trained along a ladder of shorter budgets, and read in between."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kdarena.board.statistics import Interval, paired_difference
from kdarena.board.variants import Variant, mean_of, setting_key, whole
from kdarena.record.recorded import RecordedRun


def updates_of(run: RecordedRun) -> int:
    """Steps of an optimiser on the deployed student; where none is recorded, as by an older version or of an averaged student, all steps of the run."""
    return run.result.student_updates or run.result.steps


def equal_updates_difference(variant: Variant, student: Sequence[Variant], controls: Sequence[RecordedRun], metric: str) -> Interval | None:
    """Mean and t interval over seeds of a variant's metric less the student's at the same number of updates; None where they share no seed.

    Args:
        variant: of the method.
        student: the student's variants, the ranked one first; that is read, or the first that has a ladder.
        controls: its runs along the ladder, of whatever setting.
        metric: as ``test/top1``.
    """
    if not student:
        return None
    ladders = [(full, [run for run in controls if _same_setting(run, full.first)]) for full in student]
    full, rungs = next((pair for pair in ladders if pair[1]), ladders[0])
    alone = {}
    for seed in full.values(metric).keys() & variant.values(metric).keys():
        points = _points([run for run in rungs if run.spec.seed == seed], full.runs[seed], metric)
        alone[seed] = interpolated(points, updates_of(variant.runs[seed]))
    return paired_difference(variant.values(metric), alone)


def equal_updates_columns(variant: Variant, student: Sequence[Variant], ladder: Sequence[RecordedRun], metric: str) -> dict[str, Any]:
    """The updates of the deployed student, and the difference to the plain student at as many.

    Args:
        metric: as ``top1``.
    """
    updates = {"student_updates": whole(mean_of(variant.finished, lambda run: run.result.student_updates or None))}
    interval = None if student and student[0] is variant else equal_updates_difference(variant, student, ladder, f"test/{metric}")
    if interval is None:
        return updates
    return updates | {"delta_equal_updates": interval.mean, "delta_equal_updates_low": interval.low, "delta_equal_updates_high": interval.high}


def _same_setting(rung: RecordedRun, full: RecordedRun) -> bool:
    return setting_key(rung) == setting_key(full) and rung.spec.source == full.spec.source


def _points(rungs: Sequence[RecordedRun], full: RecordedRun, metric: str) -> list[tuple[int, float]]:
    """Updates and metric of one seed's runs, the fewest updates first, the full run last. A run that is longer than that, as another budget's rung may be,
    is left out."""
    shorter = [run for run in rungs if 0 < updates_of(run) < updates_of(full)]  # a rung that failed has none
    points = {updates_of(run): run.result.metrics.get(metric, math.nan) for run in [*shorter, full]}
    return sorted((updates, value) for updates, value in points.items() if math.isfinite(value))


def interpolated(points: Sequence[tuple[int, float]], updates: int) -> float:
    """The student's metric at a number of updates: a monotone cubic in their logarithm through its runs (Fritsch and Butland's slopes).

    Outside of what was trained nothing is extrapolated. Above the longest run its value holds; below the shortest one that one's value does, which is more
    than the student has there as long as it is learning, and so favours the student.

    Args:
        points: updates and metric, in ascending order; one at least.
    """
    from scipy.interpolate import PchipInterpolator

    if len(points) == 1:
        return points[0][1]
    places, values = [math.log(place) for place, _ in points], [value for _, value in points]
    return float(PchipInterpolator(places, values)(np.clip(math.log(max(updates, 1)), places[0], places[-1])))
