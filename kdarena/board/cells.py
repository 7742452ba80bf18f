"""A board's cells and its caption as plain text, the same for every format that people read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from kdarena.board.curve_lines import curve_lines
from kdarena.board.leaderboard import BOARD_COLUMNS
from kdarena.board.ranks import AGAINST_THE_RULES
from kdarena.plan.budget import TARGET_ERROR

NOTHING = "–"
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """One column of a board for people: its heading, how a row's cell reads, and whether it is a number."""

    heading: str
    cell: Callable[[Row], str]
    number: bool = True


def split_boards(frame: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The boards of a leaderboard frame, each in the order of its rows."""
    for _, board in frame.groupby(list(BOARD_COLUMNS), sort=False, dropna=False):
        yield board


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


def clean(text: object) -> str:
    """A plugin's text on one line, without control characters (which could drive a terminal)."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]+", " ", str(text)).split())


def columns() -> list[Column]:
    """The essential columns of a board, which fit 120 characters."""
    return [
        Column("#", lambda row: _text(row["rank"])),
        Column("in class", lambda row: _text(row["rank_class"])),
        Column("method", name_of, number=False),
        Column("test mean", _mean),
        Column("Δ student", _difference),
        Column("Δ kd", lambda row: _signed(row["delta_kd"])),
        Column("supervision", lambda row: _text(row["supervision"]), number=False),
        Column("teacher time", lambda row: duration(row["teacher_s"])),
        Column("tried", lambda row: _text(row["tried"])),
        Column("tuned", lambda row: NOTHING if row["tuned"] is None else "yes" if row["tuned"] else "no", number=False),
        Column("step cost", lambda row: NOTHING if row["step_cost"] is None else f"{row['step_cost']:.2f}"),
        Column("steps", lambda row: NOTHING if row["steps"] is None else f"{row['steps']:.0f}"),
        Column("budget %", lambda row: NOTHING if row["budget_spent"] is None else f"{100 * row['budget_spent']:.1f}"),
        Column("spent", lambda row: duration(row["spent_s"])),
        Column("seeds", lambda row: _text(row["seeds"])),
        Column("status", lambda row: clean(row["status"]), number=False),
    ]


def name_of(row: Row) -> str:
    """A row's name: the method, what the user fixed of it, and the version of its code where the board has several."""
    return clean(f"{row['method']} {row['named'] or ''}" + (f" @{row['version']}" if row["version"] else ""))


def title(row: Row) -> str:
    """Task, metric and budget of a board."""
    return f"{clean(row['task'])}: {clean(row['metric'] or 'no metric')} on test, budget {budget(row)} a run"


def caption(board: pd.DataFrame) -> list[str]:
    """What has to be known to read a board, in three short lines; then what is off, each named once with the methods it holds for."""
    board_rows = rows(board)
    first = board_rows[0]
    threads = f"{first['threads']} thread{'s' if first['threads'] != 1 else ''}"
    seeds = max(row["seeds"] for row in board_rows)
    training = "" if first["protocol"] == "validated" else ", trained on all of train and settings not chosen on validation"
    detectable = sorted(row["detectable"] for row in board_rows if row["detectable"] is not None and row["seeds"] == seeds)
    smallest = (
        "unknown without the student and 2 seeds" if not detectable else " to ".join(dict.fromkeys(f"{value:.2f}" for value in (detectable[0], detectable[-1])))
    )
    spent = "device time spent" if first["unit"] == "s" else "the share committed"
    return [
        f"{seeds} seed{'s' if seeds != 1 else ''}; {platform(first)}, {first['precision']}, {threads}{training}. "
        f"Smallest detectable difference to the student (α 0.05, power 0.8): {smallest}.",
        f"± and [ ] are 95 % t intervals over seeds, Δ is paired by seed; # orders complete rows by their mean, then incomplete and skipped ones, and claims no significance. budget %: {spent}.",
        'Supervision is what a method took in addition to labels: no teacher, the task\'s one reference teacher, N of its pool, specially trained ones, or its own; "its weights": its student starts from them. "in class" is # among the rows of one supervision.',
        *_unfinished(first),
        *_overlap(board_rows),
        *_exactness(board_rows),
        *(clean(line) for line in curve_lines(board_rows, name_of)),
        *_shared((name_of(row), row["status_note"]) for row in board_rows if row["status_note"]),
    ]


def _unfinished(row: Row) -> Iterator[str]:
    """That the last seed is left out, where the command was interrupted in it."""
    if row["unfinished_seed"] is not None:
        yield f"Seed {row['unfinished_seed']} is left out, which some rows do not have yet: repeat the command that was interrupted."


def _overlap(board_rows: list[dict[str, Any]]) -> Iterator[str]:
    """How many test samples are also in train, where some are."""
    shared = max(row["test_in_train"] or 0 for row in board_rows)
    if shared:
        yield f"{shared:,} test sample{'s are' if shared > 1 else ' is'} also in train: the test means count them as if they were unseen."


def _exactness(board_rows: list[dict[str, Any]]) -> Iterator[str]:
    """How well the step costs are known, where that is not as well as they are meant to be."""
    rough = [f"{name_of(row)} {row['step_cost_error']:.1%}" for row in board_rows if (row["step_cost_error"] or 0) > TARGET_ERROR]
    if rough:
        yield f"Step costs are measured to within {TARGET_ERROR:.0%}, except for {', '.join(rough)}."


def platform(row: Row) -> str:
    """What computed a board: device, versions of torch and of kdarena's code; of old runs only the device is known."""
    model = f" ({clean(row['device_name'])})" if row["device_name"] else ""
    versions = f", torch {clean(row['torch'])}, kdarena's code {clean(row['code'])[:8]}" if row["code"] else ", recorded by an older kdarena"
    return f"{clean(row['device'])}{model}{versions}"


def failed_rows(frame: pd.DataFrame) -> list[str]:
    """A line for each row of all boards whose runs can't be compared though they are done."""
    return [f"{row['task']} {name_of(row)}: {row['status']}: {clean(row['status_note'])}" for row in rows(frame) if row["status"] in AGAINST_THE_RULES]


def further_lines(board: pd.DataFrame) -> list[str]:
    """What rows measured more than the columns show, means over seeds, with the methods that share it."""
    measured = [(name_of(row), json.loads(row["further_json"])) for row in rows(board) if row["further_json"]]
    return list(_shared((method, ", ".join(f"{name} {value:.4g}" for name, value in values.items() if value is not None)) for method, values in measured))


def _shared(texts: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Each text once, behind the methods that have it."""
    methods_of: dict[str, list[str]] = {}
    for method, text in texts:
        methods_of.setdefault(clean(text), []).append(clean(method))
    for text, methods in methods_of.items():
        yield f"{', '.join(methods)}: {text}"


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


def _text(value: object) -> str:
    return NOTHING if value is None else clean(value)


def _signed(value: float | None) -> str:
    return NOTHING if value is None else f"{value:+.2f}"


def _mean(row: Row) -> str:
    if row["mean"] is None:
        return NOTHING
    return f"{row['mean']:.2f}" + (f" ± {(row['ci_high'] - row['ci_low']) / 2:.2f}" if row["ci_low"] is not None else "")


def _difference(row: Row) -> str:
    if row["delta_student"] is None or row["delta_student_low"] is None:
        return _signed(row["delta_student"])
    return f"{row['delta_student']:+.2f} [{row['delta_student_low']:.2f}, {row['delta_student_high']:.2f}]"
