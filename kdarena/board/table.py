"""Boards on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pandas as pd
from rich.text import Text

from kdarena.board.caption import caption, left_out_lines
from kdarena.board.cells import columns, shown_rows, split_boards, title
from kdarena.board.rows import rows
from kdarena.board.screen import Table, fitted, wrapped

INDENT = "  "
"""Before the further lines of a sentence below a table."""


def terminal(frame: pd.DataFrame, width: int, wide: bool = False) -> Text:
    """All boards of a leaderboard frame: the answer of each, its table, and what is off; without a row it says what to run.

    Args:
        width: characters a line, for which costs and settings are left out where they don't fit.
        wide: all columns and all explanations, whatever the width.
    """
    texts = [line for board in split_boards(frame) for line in _board(board, width, wide)]
    return Text("\n").join(texts or [Text("nothing on the board yet; run: kdarena run --plugins all")])


def _board(board: pd.DataFrame, width: int, wide: bool) -> Iterator[Text]:
    first = rows(board)[0]
    own, others = shown_rows(board)
    yield from _sentences([title(first)], width, "bold")
    yield Text("")
    yield from _sentences([first["answer"] or ""], width)
    yield Text("")
    below = [*caption(board, wide), *left_out_lines(board, wide)]
    if own or others:
        every = columns([*own, *others])
        table = fitted(every, None) if wide else fitted([column for column in every if not column.empty], width)
        yield from _table(table, len(own))
        yield Text("")
        below += ["More columns: --wide, or all of them: --format csv."] if table.left_out else []
    yield from _sentences(below, width, "dim", INDENT)
    yield Text("")


def _sentences(texts: Iterable[str], width: int, style: str = "", indent: str = "") -> Iterator[Text]:
    """Texts, each from a new line on; those of plugins are no markup."""
    for text in texts:
        yield from (Text(line, style) for line in wrapped(text, width, indent))


def _table(table: Table, own: int) -> Iterator[Text]:
    """A table with a gap above the rows that are there to be read against."""
    yield from (Text(line, "bold") for line in table.head)
    yield from (Text(row) for row in table.rows[:own])
    if table.rows[own:]:
        yield Text("")
        yield from (Text(row, "dim") for row in table.rows[own:])
