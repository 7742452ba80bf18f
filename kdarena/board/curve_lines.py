"""What is said below a board of its curves and of its test set."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


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
    climbed = {name_of(row): (row, points) for row in rows if len(points := json.loads(row.get("time_curve_json") or "[]")) > 1}
    for column, whose in (("seconds_to_student", "the plain student's final value"), ("seconds_to_teacher", "the teacher's value")):
        texts = [f"{name} {_time(row, row.get(column), points)}" for name, (row, points) in climbed.items()]
        if any(row.get(column) is not None for row, _ in climbed.values()):
            yield f"Device time of a run to {whose}: {', '.join(texts)}."
        elif climbed and any(row["method"] == "teacher" for row in rows) == (column == "seconds_to_teacher"):
            longest = max(points[-1][0] for _, points in climbed.values())
            yield f"Device time of a run to {whose}: none within {longest:.4g} {rows[0]['unit']}."


def _time(row: Row, seconds: float | None, points: Sequence[Sequence[Any]]) -> str:
    if seconds is None:
        return f"not within {points[-1][0]:.4g} {row['unit']}"
    return f"{seconds:.3g} s"


def _below_the_error(rows: Sequence[Row], name_of: Callable[[Row], str]) -> Iterator[str]:
    below = [
        name_of(row)
        for row in rows
        if row.get("test_set_error") is not None and row["delta_student"] is not None and abs(row["delta_student"]) < row["test_set_error"]
    ]
    if below:
        yield f"Below the standard error that the test set alone gives Δ student, whatever the number of seeds: {', '.join(below)}."
