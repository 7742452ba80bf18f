"""The order of a board's rows, and their ranks: over all rows, and within a supervision class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from kdarena.plan.spec import Status

AGAINST_THE_RULES: tuple[Status, ...] = ("unpaid", "underpriced")
"""Statuses of a row that none of its runs has: they are done, but were trained by other rules than the rest."""
UNRANKED: tuple[Status, ...] = (*AGAINST_THE_RULES, "skipped")
"""Statuses of a row that has no rank."""


FEWEST_SEEDS = 3
"""A board of fewer seeds has no ranks: two values do not show how far a third is from them."""


def with_ranks(rows: Iterable[Mapping[str, Any]], seeds: int) -> list[dict[str, Any]]:
    """The rows of a board in their order, each with ``rank`` and ``rank_class``, its place among the ranked rows of its supervision; None without a rank.

    Complete rows come first, by their mean; then those with a seed that is not done, by theirs; then those without a rank.

    Args:
        rows: each with ``complete``: whether all seeds are done and have a value.
        seeds: of the board.
    """
    in_order = sorted((dict(row) for row in rows), key=_order)
    taken: Counter[str | None] = Counter()
    for number, row in enumerate(in_order, 1):
        taken[row["supervision"]] += 1
        ranked = row["status"] not in UNRANKED and seeds >= FEWEST_SEEDS
        row["rank"], row["rank_class"] = (number, taken[row["supervision"]]) if ranked else (None, None)
    return in_order


def _order(row: Mapping[str, Any]) -> tuple[int, bool, float, str]:
    label = f"{row['method']} {row['named']} {row['version']}"
    without_rank = 1 + UNRANKED.index(row["status"]) if row["status"] in UNRANKED else 0
    return without_rank, not row["complete"], -row["mean"] if row["mean"] is not None else float("inf"), label
