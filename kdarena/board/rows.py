"""A board's rows as plain values, and what tells from the row alone whether it is compared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import pandas as pd

from kdarena.board.ranks import UNRANKED
from kdarena.board.screen import clean
from kdarena.plan.spec import COMPLETE

Row = Mapping[str, Any]
Verdict = Literal["better", "worse", "open", "equal"]

ALPHA = 0.05
"""Level of the tests that the words of a board go by, over all rows together."""
REFERENCE = "reference"
"""Status of a row that is there to be read against: a teacher, or a further network that a method deploys."""


def rows(board: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a board as dictionaries with None where a value is missing."""
    return [{str(name): plain(value) for name, value in row.items()} for row in board.to_dict("records")]


def plain(value: Any) -> Any:
    """A cell as a JSON value: nan and infinity become None, numpy's numbers Python's."""
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)) else value


def name_of(row: Row) -> str:
    """A row's name: the method, what the user fixed of it, and the version of its code where the board has several."""
    return clean(f"{row['method']} {row['named'] or ''}" + (f" @{row['version']}" if row["version"] else ""))


def board_seeds(board_rows: Iterable[Row]) -> int:
    """The seeds of a complete row; 0 where nothing is done."""
    return max((row["seeds"] or 0 for row in board_rows if row["status"] != REFERENCE), default=0)


def compared(board_rows: Sequence[Row]) -> list[Row]:
    """The rows that have all seeds of the board and are ranked, in their order."""
    seeds = board_seeds(board_rows)
    return [row for row in board_rows if row["mean"] is not None and row["seeds"] == seeds and _complete(row)]


def _complete(row: Row) -> bool:
    """Whether all runs of a row are done, by its status: ``done``, or how many ended how, as ``3 done, 2 diverged``."""
    return all(part.rpartition(" ")[2] in COMPLETE for part in clean(row["status"]).split(", "))


def unfinished(board_rows: Sequence[Row]) -> list[Row]:
    """The rows that have results, but not of all seeds, in their order."""
    whole = {id(row) for row in compared(board_rows)}
    return [row for row in board_rows if row["mean"] is not None and row["status"] not in (REFERENCE, *UNRANKED) and id(row) not in whole]


def references(board_rows: Sequence[Row]) -> list[Row]:
    """The rows that are there to be read against."""
    return [row for row in board_rows if row["status"] == REFERENCE]


def left_out(board_rows: Sequence[Row]) -> list[Row]:
    """The rows that say nothing but why: the method does not apply, was refused, all of its runs failed, or they broke a rule."""
    return [row for row in board_rows if row["status"] in UNRANKED or (row["mean"] is None and row["status"] != REFERENCE)]


def established(row: Row) -> bool:
    """Whether a row is better than the plain student beyond the noise of seeds, with all rows of the board tested."""
    return verdict(row) == "better"


def verdict(row: Row) -> Verdict | None:
    """A row against the plain student in one word, by Holm's test over the board; None where there is no test.

    ``equal`` says that the difference is zero in every seed, ``open`` that its sign is not known.
    """
    if row["delta_student"] == 0 and row.get("p_holm") is None and row.get("family") is not None:
        return "equal"  # no test: the runs are the student's own
    if row.get("p_holm") is None or row["delta_student"] is None:
        return None
    if row["p_holm"] > ALPHA:
        return "open"
    return "better" if row["delta_student"] > 0 else "worse"
