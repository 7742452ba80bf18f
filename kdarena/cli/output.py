"""Tables and JSON on standard output."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any


def print_json(rows: Sequence[Mapping[str, Any]]) -> None:
    """One JSON array and nothing else."""
    json.dump(list(rows), sys.stdout, indent=1, allow_nan=False)
    sys.stdout.write("\n")


def print_table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table that fits the terminal; text of plugins is never read as markup."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else 160)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if value is None else str(value)) for value in row))
    console.print(table)


def paragraph(text: str) -> str:
    """A line of text as it fits the terminal, further lines indented; elsewhere it stays one line."""
    if not sys.stdout.isatty():
        return text
    width = shutil.get_terminal_size().columns
    margin = text[: len(text) - len(text.lstrip())]
    return textwrap.fill(text.strip(), width, initial_indent=margin, subsequent_indent=margin + "    ", break_long_words=False, break_on_hyphens=False)
