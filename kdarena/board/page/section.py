"""A board as a section of the page: its answer, table, figures, what does not apply, environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from kdarena.board.caption import caption, further_lines, platform
from kdarena.board.cells import Row, clean, name_of, rows, title
from kdarena.board.page.costs import audit, cost_split
from kdarena.board.page.curves import learning_curves
from kdarena.board.page.figures import against_time, forest, trade_off
from kdarena.board.page.plot import Figure
from kdarena.board.page.recorded import Recorded
from kdarena.board.page.table import Heading, TableRow, headings, table_row
from kdarena.board.page.tuning import tuning_figures

WITHOUT_ROW = ("skipped",)
"""Statuses of rows that are a line below the table."""


@dataclass(frozen=True)
class Method:
    """What was trained of one method, of which a reader looks at one at a time."""

    name: str
    figures: Sequence[Figure]


@dataclass(frozen=True)
class Section:
    """A board as a page shows it.

    Attributes:
        anchor: its name in the page, made of numbers alone.
        task, title, platform: which board it is.
        answer: sentences; empty where the frame has none.
        headings, rows: of its table.
        left_out: a line for each reason why methods have no row.
        notes: how the table is read, and what is off.
        further: what its rows measured beyond its columns.
        figures: that compare its rows.
        methods: with figures of one row each.
        methods_left_out: number of rows of which no such figures are made.
        environment: names and values.
    """

    anchor: str
    task: str
    title: str
    platform: str
    answer: str
    headings: Sequence[Heading]
    rows: Sequence[TableRow]
    left_out: Sequence[str]
    notes: Sequence[str]
    further: Sequence[str]
    figures: Sequence[Figure]
    methods: Sequence[Method]
    methods_left_out: int
    environment: Sequence[tuple[str, str]]


def section_of(number: int, board: pd.DataFrame, recorded: Recorded, methods: int, seeds: int) -> Section:
    """A board of a frame as a section.

    Args:
        number: of the board on the page.
        methods: of how many rows the curves and trials are shown.
        seeds: of how many runs a row the curves are read.
    """
    every = rows(board)
    first, anchor = every[0], f"board-{number}"
    shown = [row for row in every if row["status"] not in WITHOUT_ROW]
    corrected = any(row.get("delta_student_corrected_low") is not None for row in shown)
    ranks = max((row.get("rank_high") or 0 for row in shown), default=0)
    compared = [
        forest(shown),
        against_time(shown, recorded),
        trade_off(shown, "params", ""),
        trade_off(shown, "latency_ms", ", ms a sample"),
        cost_split(shown, recorded),
        audit(shown),
    ]
    trained = with_figures(every)
    one_at_a_time = [Method(name_of(row), _of_one_method(row, recorded, seeds)) for row in trained[:methods]]
    return Section(
        anchor=anchor,
        task=clean(first["task"]),
        title=title(first),
        platform=f"{platform(first)}, {first['precision']}",
        answer=clean(first.get("answer") or ""),
        headings=headings(clean(first["metric"] or "metric"), corrected),
        rows=[table_row(row, f"{anchor}-{place}", ranks, corrected, recorded) for place, row in enumerate(shown)],
        left_out=_left_out(every),
        notes=_notes(board, every),
        further=list(further_lines(board)),
        figures=[figure for figure in compared if figure is not None],
        methods=[method for method in one_at_a_time if method.figures],
        methods_left_out=len(trained) - len(trained[:methods]),
        environment=environment(first, every, recorded),
    )


def with_figures(every: Sequence[Row]) -> list[Row]:
    """The rows whose training may be looked at one at a time, in the order of the board."""
    return [row for row in every if row["status"] not in (*WITHOUT_ROW, "reference")]


def _of_one_method(row: Row, recorded: Recorded, seeds: int) -> list[Figure]:
    curves = learning_curves(row, recorded, seeds)
    return [*([curves] if curves is not None else []), *tuning_figures(row, recorded.trials_of(row))]


def _left_out(every: Sequence[Row]) -> list[str]:
    """Why methods have no row, each reason once with the methods that it holds for."""
    methods: dict[str, list[str]] = {}
    for row in every:
        if row["status"] in WITHOUT_ROW:
            methods.setdefault(clean(row["status_note"] or row["status"]), []).append(name_of(row))
    return [f"{', '.join(names)}: {reason}" for reason, names in methods.items()]


def _notes(board: pd.DataFrame, every: Sequence[Row]) -> list[str]:
    """The lines of the caption, but for those that are below the table."""
    said = set(_left_out(every))
    return [line for line in caption(board) if line not in said]


def environment(first: Row, every: Sequence[Row], recorded: Recorded) -> list[tuple[str, str]]:
    """What computed the board; where its runs differ, each value is named."""
    machine = ("device", "device_name", "precision", "compiled", "threads", "torch", "code")
    board = ("task", "track", "unit", "budget", "protocol", *machine, "data", "reference", "views")
    values: dict[str, dict[str, None]] = {name: {clean(first[name]): None} for name in board if first[name] not in (None, "")}
    for row in every:
        for run in recorded.runs_of(row):
            for name, value in run.result.environment.items():
                values.setdefault(clean(name), {})[clean(value)] = None
    return [(name, ", ".join(different)) for name, different in values.items()]
