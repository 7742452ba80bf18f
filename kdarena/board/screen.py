"""Tables of plain text that fit a width: columns that there is no room for are left out, and the first one is never cut."""

from __future__ import annotations

import math
import re
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len

NOTHING = "–"
"""A cell without a value."""
ELSEWHERE = 120
"""Characters a line where the output is no terminal and COLUMNS is not set."""
NARROW = 100
"""Below this width columns are parted by one space where more of them fit so, else by two."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        heading: its lines, parted by line breaks.
        cells: a text a row.
        number: whether its cells are on the right.
        order: how soon it is left out where there is no room: the largest first; 0: never.
        least: the width from which its cells go on in further lines; None: they never do.
    """

    heading: str
    cells: Sequence[str]
    number: bool = False
    order: int = 0
    least: int | None = None

    @property
    def empty(self) -> bool:
        """Whether no cell has a value."""
        return all(cell.strip() in ("", NOTHING) for cell in self.cells)

    @property
    def width(self) -> int:
        """Characters that it takes where nothing goes on in a further line."""
        return max(map(cell_len, (*self.heading.split("\n"), *self.cells)), default=0)

    @property
    def least_width(self) -> int:
        """Characters that it takes at least."""
        if self.least is None:
            return self.width
        return min(self.width, max(self.least, *map(cell_len, self.heading.split("\n"))))


@dataclass(frozen=True)
class Table:
    """A table in lines of text.

    Attributes:
        head: the lines of the headings.
        rows: the lines of each row, parted by line breaks.
        left_out: headings of the columns that there was no room for, on one line each.
    """

    head: tuple[str, ...]
    rows: tuple[str, ...]
    left_out: tuple[str, ...]


def clean(text: object) -> str:
    """A plugin's text on one line, without control characters (which could drive a terminal)."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]+", " ", str(text)).split())


def screen_width() -> int:
    """Characters a line: as COLUMNS says, else as the terminal has; 120 where there is none."""
    return shutil.get_terminal_size((ELSEWHERE, 24)).columns


def fitted(columns: Sequence[Column], width: int | None = None) -> Table:
    """A table of the columns that fit a width; without one, of all, and nothing goes on in further lines."""
    gap, shown = 2, list(columns)
    if width is not None:
        shown = _that_fit(columns, width, gap)
        close = _that_fit(columns, width, 1)
        if width < NARROW and (len(close) > len(shown) or _needed(shown, gap) > width):
            gap, shown = 1, close
    widths = [column.width for column in shown] if width is None else _widths(shown, width, gap)
    heads = [column.heading.split("\n") for column in shown]
    height = max(map(len, heads), default=0)
    filled = [[""] * (height - len(head)) + head for head in heads]
    return Table(
        tuple(_line([head[number] for head in filled], shown, widths, gap) for number in range(height)),
        tuple(_row(cells, shown, widths, gap) for cells in zip(*(column.cells for column in shown), strict=True)),
        tuple(column.heading.replace("\n", " ") for column in columns if column not in shown),
    )


def _that_fit(columns: Sequence[Column], width: int, gap: int) -> list[Column]:
    """The columns without those that there is no room for."""
    shown = list(columns)
    while _needed(shown, gap) > width and any(column.order for column in shown):
        shown.remove(max(shown, key=lambda column: column.order))
    return shown


def _needed(columns: Sequence[Column], gap: int) -> int:
    return sum(column.least_width for column in columns) + gap * (len(columns) - 1)


def _widths(columns: Sequence[Column], width: int, gap: int) -> list[int]:
    """The least width of each column; what is left goes to those that would like more, the narrowest first."""
    widths, wanted = [column.least_width for column in columns], [column.width for column in columns]
    for _ in range(width - _needed(columns, gap)):
        short = [number for number, one in enumerate(widths) if one < wanted[number]]
        if not short:
            break
        widths[min(short, key=lambda number: widths[number])] += 1
    return widths


def _row(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int], gap: int) -> str:
    """The lines of a row."""
    if all(cell_len(cell) <= width for cell, width in zip(cells, widths, strict=True)):
        return _line(cells, columns, widths, gap)
    parts = [[cell] if column.least is None else wrapped(cell, width) for cell, column, width in zip(cells, columns, widths, strict=True)]
    height = max(map(len, parts))
    return "\n".join(_line([part[number] if number < len(part) else "" for part in parts], columns, widths, gap) for number in range(height))


def _line(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int], gap: int) -> str:
    padded = [
        " " * (width - cell_len(cell)) + cell if column.number else cell + " " * (width - cell_len(cell))
        for cell, column, width in zip(cells, columns, widths, strict=True)
    ]
    return (" " * gap).join(padded).rstrip()


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """A text in lines of at most ``width`` characters, broken at spaces where that is possible; all but the first begin with ``indent``."""
    return textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False) or [""]


def aligned(texts: Sequence[str]) -> list[str]:
    """Numbers with their decimal points below one another, all of one width; a text without a number is put where whole digits are."""
    parts = [text.partition(".") for text in texts]
    digits = max((len(tail) for _, _, tail in parts), default=0)
    padded = [head + (dot + tail).ljust(digits + 1 if digits else 0) for head, dot, tail in parts]
    width = max(map(len, padded), default=0)
    return [text.rjust(width) for text in padded]


def number(value: float | None, decimals: int = 2, sign: bool = False) -> str:
    """A number with at most four significant digits and at most so many decimals, from 10,000 on with k, M, G or T.

    Args:
        sign: whether a number above zero has its sign.
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    scaled, letter = abs(value), ""
    for letter in ("", "k", "M", "G", "T"):
        if scaled < (9999.5 if not letter else 999.95) or letter == "T":
            break
        scaled /= 1000
    if letter:
        decimals = 1
    room = 3 if scaled < 1 else 3 - math.floor(math.log10(scaled))
    text = f"{scaled:.{max(min(decimals, room), 0)}f}"
    if len(text.replace(".", "")) > 4 and "." in text:  # rounded up to one digit more
        text = text[:-1].rstrip(".")
    before = "-" if value < 0 else "+" if sign else ""
    return text + letter if not text.strip("0.") else before + text + letter


def numbers(values: Sequence[float | None], decimals: int = 2, sign: bool = False) -> list[str]:
    """Numbers (:func:`number`) with their decimal points below one another."""
    return aligned([number(value, decimals, sign) for value in values])


def several(names: Sequence[str], most: int = 3) -> str:
    """Names with commas, the first of them where there are many more."""
    return ", ".join(names) if len(names) <= most + 1 else f"{', '.join(names[:most])} and {len(names) - most} more"
