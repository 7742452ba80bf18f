"""What can be traded: the students of several tasks by their metric and by what they cost when they are deployed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from kdarena.board.cells import Row

Prefer = Literal["accuracy", "latency", "params"]
COSTS = {"latency": "latency_ms", "params": "params"}
"""Columns of the deployed student's costs, by what is preferred."""


def front(rows: Sequence[Row], cost: str) -> list[Row]:
    """The rows to which no other is better in one of metric and cost and as good in the other, the cheapest first.

    Args:
        rows: each with a mean; those whose cost is not known are left out.
        cost: a column, of which less is better.
    """
    known = [row for row in rows if row[cost] is not None]
    best = [row for row in known if not any(_dominates(other, row, cost) for other in known)]
    return sorted(best, key=lambda row: (row[cost], -row["mean"]))


def preferred(rows: Sequence[Row], prefer: Prefer) -> Row:
    """The row with the best metric, or the least cost of what is preferred; of equal ones the other decides."""
    if prefer == "accuracy":
        return max(rows, key=lambda row: (row["mean"], -(row["params"] or 0)))
    ordered = front(rows, COSTS[prefer])
    return ordered[0] if ordered else preferred(rows, "accuracy")


def _dominates(other: Row, row: Row, cost: str) -> bool:
    gains: list[float] = [other["mean"] - row["mean"], row[cost] - other[cost]]
    return min(gains) >= 0 and max(gains) > 0
