"""Frames as Markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pandas as pd
from tabulate import tabulate

from kdarena.board.cells import NOTHING, caption, clean, columns, further_lines, plain, rows, split_boards, title


def markdown(frame: pd.DataFrame) -> str:
    """All boards of a leaderboard frame, each with title and caption; text of plugins is no markup."""
    parts = []
    for board in split_boards(frame):
        found, shown = rows(board), columns()
        cells = [[escape_markdown(column.cell(row)) for column in shown] for row in found]
        align = ["right" if column.number else "left" for column in shown]
        table = tabulate(cells, [column.heading for column in shown], tablefmt="pipe", disable_numparse=True, colalign=align)
        lines = "\n".join(f"- {escape_markdown(line)}" for line in (*caption(board), *further_lines(board)))
        parts.append(f"### {escape_markdown(title(found[0]))}\n\n{table}\n\n{lines}\n")
    return "\n".join(parts)


def latex(frame: pd.DataFrame) -> str:
    """All boards as ``tabular`` of the package booktabs, the caption of each as comments before it."""
    parts = []
    for board in split_boards(frame):
        found, shown = rows(board), columns()
        align = ["right" if column.number else "left" for column in shown]
        cells = [[column.cell(row) for column in shown] for row in found]
        table = tabulate(cells, [column.heading for column in shown], tablefmt="latex_booktabs", disable_numparse=True, colalign=align)
        for character, command in (("±", r"$\pm$"), ("Δ", r"$\Delta$"), (NOTHING, "--")):
            table = table.replace(character, command)
        comments = "\n".join(f"% {line}" for line in (title(found[0]), *caption(board)))
        parts.append(f"{comments}\n{table}\n")
    return "\n".join(parts)


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
