"""A board's columns as plain text, the same for every format that people read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from kdarena.board.leaderboard import BOARD_COLUMNS
from kdarena.board.rows import Row, compared, name_of, references, rows, unfinished, verdict
from kdarena.board.screen import NOTHING, Column, aligned, clean, number, numbers
from kdarena.plan.request import CONTROLS


def split_boards(frame: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The boards of a leaderboard frame, each in the order of its rows."""
    for _, board in frame.groupby(list(BOARD_COLUMNS), sort=False, dropna=False):
        yield board


def title(row: Row) -> str:
    """Task, metric and budget of a board."""
    return f"{clean(row['task'])}: {clean(row['metric'] or 'no metric')} on test, budget {budget(row)} a run"


def budget(row: Row) -> str:
    """A board's budget with its unit, as ``60 s`` or ``3e+15 flop``."""
    return f"{row['budget']:.4g} {row['unit']}"


def duration(seconds: float | None) -> str:
    """Seconds in at most five characters."""
    if seconds is None:
        return NOTHING
    for limit, divisor, unit in ((99.95, 1, "s"), (5997, 60, "m"), (359_820, 3600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.1f}{unit}"
    return f"{seconds / 86_400:.0f}d"


def shown_rows(board: pd.DataFrame) -> tuple[list[Row], list[Row]]:
    """The rows that a table has: those with results, the complete ones first; and those that are there to be read against."""
    board_rows = rows(board)
    return [*compared(board_rows), *unfinished(board_rows)], references(board_rows)


def columns(board_rows: Sequence[Row]) -> list[Column]:
    """The columns of a board: what answers its question first, then costs and settings."""
    student, reference = CONTROLS
    return [
        Column("method", [name_of(row) for row in board_rows]),
        Column(f"{clean(board_rows[0]['metric'] or 'metric')} %\n± 95 %", _means(board_rows), number=True, order=1),
        Column(f"gain over\n{student}", numbers([row["delta_student"] for row in board_rows], sign=True), number=True, order=2),
        _interval(board_rows),
        Column("rank", [_rank(row) for row in board_rows], number=True, order=4),
        Column("verdict", [verdict(row) or NOTHING for row in board_rows], order=3),
        Column(f"gain\nover {reference}", numbers([row["delta_kd"] for row in board_rows], sign=True), number=True, order=6),
        Column("supervision", [_text(row["supervision"]) for row in board_rows], order=7),
        *_costs(board_rows),
        *_settings(board_rows),
    ]


def _costs(board_rows: Sequence[Row]) -> list[Column]:
    """What rows took."""
    return [
        Column("teacher\ns", numbers([row["teacher_s"] for row in board_rows], 1), number=True, order=8),
        Column("tuning\ns", numbers([row["tuning_s"] for row in board_rows], 1), number=True, order=10),
        Column("step cost,\nstudent's", numbers([row["step_cost"] for row in board_rows]), number=True, order=9),
        Column("steps", numbers([row["steps"] for row in board_rows], 0), number=True, order=12),
        Column("run\ns", numbers([row["spent_s"] for row in board_rows], 1), number=True, order=16),
        Column("budget\n%", numbers([_percent(row["budget_spent"]) for row in board_rows], 1), number=True, order=17),
    ]


def _settings(board_rows: Sequence[Row]) -> list[Column]:
    """How rows were made."""
    return [
        Column("seeds", [_text(row["seeds"]) for row in board_rows], number=True, order=11),
        Column("tuned", [NOTHING if row["tuned"] is None else "yes" if row["tuned"] else "no" for row in board_rows], order=13),
        Column("tried", [_text(row["tried"]) for row in board_rows], number=True, order=14),
        Column("place in\nclass", [_text(row["rank_class"]) for row in board_rows], number=True, order=15),
        Column("status", [clean(row["status"]) for row in board_rows], order=18),
    ]


def _means(board_rows: Sequence[Row]) -> list[str]:
    """Means with the half width of their intervals, where they have one."""
    halves = [None if row["ci_low"] is None else (row["ci_high"] - row["ci_low"]) / 2 for row in board_rows]
    means = numbers([row["mean"] for row in board_rows])
    if halves.count(None) == len(halves):
        return means
    texts = aligned(["" if half is None else number(half) for half in halves])
    return [f"{mean} {'±' if half is not None else ' '} {text}" for mean, half, text in zip(means, halves, texts, strict=True)]


def corrected(board_rows: Sequence[Row]) -> bool:
    """Whether intervals hold for all rows of the board together."""
    return any(row.get("delta_student_corrected_low") is not None for row in board_rows)


def _interval(board_rows: Sequence[Row]) -> Column:
    """The interval of the gain over the student: that which holds for all rows together, where the board has it."""
    name = "delta_student_corrected" if corrected(board_rows) else "delta_student"
    ends = [(row[f"{name}_low"], row[f"{name}_high"]) for row in board_rows]
    lows, highs = numbers([low for low, _ in ends]), numbers([high for _, high in ends])
    cells = [NOTHING if low is None else f"[{low_text}, {high_text}]" for (low, _), low_text, high_text in zip(ends, lows, highs, strict=True)]
    return Column("its 95 %\ninterval", cells, number=True, order=5)


def _rank(row: Row) -> str:
    """The places that a row may have, as ``2–5``."""
    low, high = row["rank_low"], row["rank_high"]
    return NOTHING if low is None else str(low) if low == high else f"{low}–{high}"


def _percent(part: float | None) -> float | None:
    return None if part is None else 100 * part


def _text(value: Any) -> str:
    return NOTHING if value is None else clean(value)
