"""Phrases of a board's answer: how a row differs from a control, and what it took."""

from __future__ import annotations

from collections.abc import Sequence

from kdarena.board.rows import Row, name_of
from kdarena.board.screen import clean, number, several

NAMES = 6
"""So many names are listed."""


def noise(row: Row, control: str) -> str:
    """That a difference is below what the choice of the test samples alone makes of it; empty where it is not, or where that is not known."""
    error = row["test_set_error"]
    if error is None or row["delta_student"] is None or abs(row["delta_student"]) >= error:
        return ""
    return f"; the difference from {control} is below the test set's own error of {number(error)}"


def difference(row: Row, column: str, control: str) -> str:
    """``+3.06 [-0.52, 6.63] from student``."""
    ends = [row[f"{column}{corrected}_{end}"] for corrected in ("_corrected", "") for end in ("low", "high")]
    low, high = ends[:2] if ends[0] is not None else ends[2:]
    interval = f" [{number(low)}, {number(high)}]" if low is not None else ""
    return f"{number(row[column], sign=True)}{interval} from {control}"


def needs(row: Row) -> str:
    """Supervision with the teachers' time, and the time of tuning."""
    words = {
        "none": "no teacher",
        "special teacher": "a specially trained teacher",
        "own teacher": "a teacher of its own",
        "its weights": "its weights to start from",
    }
    first, *further = clean(row["supervision"] or "unknown supervision").split(", ")
    time = f" (trained in {spoken(row['teacher_s'])})" if row["teacher_s"] else ""
    tuning = f"{spoken(row['tuning_s'])} of tuning" if row["tuning_s"] else "no tuning"
    return f"{', '.join([words.get(first, first) + time, *(words.get(one, one) for one in further)])} and {tuning}"


def spoken(seconds: float) -> str:
    """A duration with its unit, as ``19.7 s`` or ``2.5 h``."""
    divisor, unit = (1, "s") if seconds < 600 else (60, "min") if seconds < 36_000 else (3600, "h")
    return f"{number(seconds / divisor, 1)} {unit}"


def names_of(board_rows: Sequence[Row]) -> str:
    """Names in a sentence."""
    listed = [name_of(row) for row in board_rows]
    if len(listed) > NAMES + 1:
        return several(listed, NAMES)
    return f"{', '.join(listed[:-1])} and {listed[-1]}" if len(listed) > 1 else listed[0]
