"""Tables and JSON on standard output."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kdarena.board.screen import Column, clean, fitted, screen_width


def print_json(rows: Sequence[Mapping[str, Any]]) -> None:
    """One JSON array and nothing else."""
    json.dump(list(rows), sys.stdout, indent=1, allow_nan=False)
    sys.stdout.write("\n")


def print_table(columns: Sequence[Column]) -> None:
    """A table that fits the terminal, without columns that have no value; text of plugins is never read as markup."""
    from rich.console import Console
    from rich.text import Text

    table = fitted([column for column in columns if not (column.cells and column.empty)], screen_width())
    text = Text("\n").join([*(Text(line, "bold") for line in table.head), *map(Text, table.rows)])
    Console(width=screen_width()).print(text, soft_wrap=True)


def texts(values: Iterable[Any]) -> list[str]:
    """Cells of a column, each on one line and empty where there is no value."""
    return ["" if value is None else clean(value) for value in values]


def paragraph(text: str) -> str:
    """A line of text as it fits the terminal, further lines indented; elsewhere it stays one line."""
    if not sys.stdout.isatty():
        return text
    margin = text[: len(text) - len(text.lstrip())]
    return textwrap.fill(text.strip(), screen_width(), initial_indent=margin, subsequent_indent=margin + "    ", break_long_words=False, break_on_hyphens=False)
