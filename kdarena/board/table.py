"""Boards on the terminal."""

from __future__ import annotations

import pandas as pd
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kdarena.board.cells import caption, columns, rows, split_boards, title

WRAPPED = {"method": 12, "supervision": 11, "status": 8}
"""The columns whose cells may go on in a second line, with their least width."""
WIDE = ("test mean", "Δ student", "Δ kd")
"""The columns whose heading is on one line."""


def terminal(frame: pd.DataFrame) -> Group:
    """All boards of a leaderboard frame, for a rich console of 120 columns or more; without a row it says what to run."""
    parts: list[RenderableType] = []
    for board in split_boards(frame):
        parts += [_table(board), *(Text(line, style="dim") for line in caption(board)), Text("")]
    return Group(*(parts or [Text("nothing on the board yet; run: kdarena run --plugins all")]))


def _table(board: pd.DataFrame) -> Table:
    # texts of plugins go in as Text, which reads no markup
    found = rows(board)
    table = Table(title=Text(title(found[0])), title_justify="left", box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    for column in columns():
        heading = Text(column.heading.replace(" ", "\n") if column.heading not in WIDE else column.heading)
        table.add_column(
            heading, justify="right" if column.number else "left", overflow="fold", no_wrap=column.heading not in WRAPPED, min_width=WRAPPED.get(column.heading)
        )
    for row in found:
        table.add_row(*(Text(column.cell(row)) for column in columns()))
    return table
