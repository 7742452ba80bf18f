"""Frames as Markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from html import escape
from typing import Any

import pandas as pd
from tabulate import tabulate

from kdarena.board.caption import caption, further_lines, left_out_lines
from kdarena.board.cells import columns, shown_rows, split_boards, title
from kdarena.board.rows import plain, rows
from kdarena.board.screen import Column, clean


def markdown(frame: pd.DataFrame) -> str:
    """All boards of a leaderboard frame, each with title, answer, table and caption; text of plugins is no markup."""
    parts = []
    for board in split_boards(frame):
        first = rows(board)[0]
        below = (*caption(board), *left_out_lines(board), *further_lines(board))
        lines = "\n".join(f"- {escape_markdown(line)}" for line in below)
        pieces = [f"### {escape_markdown(title(first))}", escape_markdown(first["answer"] or ""), _table(board, "pipe", escape_markdown), lines]
        parts.append("\n\n".join(piece for piece in pieces if piece) + "\n")
    return "\n".join(parts)


def latex(frame: pd.DataFrame) -> str:
    """All boards as ``tabular`` of the package booktabs, answer and caption of each as comments before it."""
    parts = []
    for board in split_boards(frame):
        first = rows(board)[0]
        table = _table(board, "latex_booktabs", str)
        for character, command in (("±", r"$\pm$"), ("–", "--")):
            table = table.replace(character, command)
        above = (title(first), clean(first["answer"] or ""), *caption(board), *left_out_lines(board))
        comments = "\n".join(f"% {line}" for line in above)
        parts.append(f"{comments}\n{table}\n")
    return "\n".join(parts)


def html(frame: pd.DataFrame) -> str:
    """All boards of a leaderboard frame for a notebook: title, answer, table and caption, without a script; text of plugins is no markup."""
    parts = []
    for board in split_boards(frame):
        first = rows(board)[0]
        below = "".join(f"<li>{escape(clean(line))}</li>" for line in (*caption(board), *left_out_lines(board)))
        heads = f"<h3>{escape(title(first))}</h3>\n<p>{escape(clean(first['answer'] or ''))}</p>"
        parts.append(f"{heads}\n{_table(board, 'html', str)}\n<ul>{below}</ul>\n")
    return "\n".join(parts) or "<p>nothing on the board yet; run: kdarena run --plugins all</p>"


def _table(board: pd.DataFrame, form: str, escaped: Callable[[str], str]) -> str:
    """All columns of the rows that have results, in a form of tabulate, which escapes LaTeX and HTML by itself."""
    own, others = shown_rows(board)
    if not own and not others:
        return ""
    shown = columns([*own, *others])
    cells = [[escaped(" ".join(cell.split()).replace("[ ", "[")) for cell in row] for row in zip(*(column.cells for column in shown), strict=True)]
    align = ["right" if column.number else "left" for column in shown]
    return tabulate(cells, [_heading(column) for column in shown], tablefmt=form, disable_numparse=True, colalign=align)


def _heading(column: Column) -> str:
    return column.heading.replace("\n", " ")


def csv_text(frame: pd.DataFrame) -> str:
    """A frame as CSV with a heading, empty cells for missing values and lists with spaces."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(frame.columns)
    for row in frame.itertuples(index=False):
        writer.writerow([_csv_cell(plain(value)) for value in row])
    return target.getvalue()


def json_text(frame: pd.DataFrame) -> str:
    """A frame as one JSON array of objects, null where a value is missing, not finite or does not apply."""
    return json.dumps(rows(frame), indent=1, ensure_ascii=False, allow_nan=False)


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_\[\]<>|~#&$])", r"\\\1", clean(text))


def _csv_cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, str) and value[:1] in "=+-@\t\r" and value:
        return "'" + value  # or a spreadsheet would run a plugin's text as a formula
    return value
