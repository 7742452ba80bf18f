"""What is said below a board of its curves and of its test set."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from kdarena.board.ranks import UNRANKED
from kdarena.board.reference_rows import TEACHER
from kdarena.plan.request import CONTROLS

Row = Mapping[str, Any]
STUDENT = CONTROLS[0]


def curve_lines(rows: Sequence[Row], name_of: Callable[[Row], str]) -> Iterator[str]:
    """Where methods cross, and the time to the student's and the teacher's value, of a board with a ladder; differences below the test set's error.

    Args:
        rows: of one board.
        name_of: a row's name.
    """
    crossing = next((row["crossings"] for row in rows if row.get("crossings")), None)
    if crossing:
        yield f"Along the ladder: {crossing}."
        yield from _times(rows, name_of)
    yield from _below_the_error(rows, name_of)


def _times(rows: Sequence[Row], name_of: Callable[[Row], str]) -> Iterator[str]:
    """The device time of a run to the plain student's value and to the teacher's, of the rows that have several points."""
    climbed = [(row, points) for row in rows if row["status"] not in UNRANKED and len(points := json.loads(row.get("time_curve_json") or "[]")) > 1]
    for column, whose, what in (("seconds_to_student", STUDENT, "the plain student's final value"), ("seconds_to_teacher", TEACHER, "the teacher's value")):
        target = next((row["mean"] for row in rows if row["method"] == whose and (whose == TEACHER or row["delta_student"] is None)), None)
        others = [(row, points) for row, points in climbed if row["method"] != whose]
        if target is None or not others:
            continue
        times = {name_of(row): _time(row[column], points, target, row["unit"]) for row, points in others}
        reached = ", ".join(f"{name} {time}" for name, time in times.items())
        yield f"Device time of a run to {what} of {target:.2f}: {reached}."


def _time(seconds: float | None, points: Sequence[Sequence[Any]], target: float, unit: str) -> str:
    """A time; what no run reached is censored at the longest one, and what the shortest one reached at that."""
    if seconds is None:
        return f"not within {points[-1][0]:.4g} {unit}"
    return f"{'at most ' if points[0][1] >= target else ''}{seconds:.3g} s"


def _below_the_error(rows: Sequence[Row], name_of: Callable[[Row], str]) -> Iterator[str]:
    below = [
        name_of(row)
        for row in rows
        if row.get("test_set_error") is not None and row["delta_student"] is not None and abs(row["delta_student"]) < row["test_set_error"]
    ]
    if below:
        yield f"Below the standard error that the test set alone gives a gain over student, whatever the number of seeds: {', '.join(below)}."
