"""Published tables: a Markdown and a CSV file a board, from the record and never typed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd

from kdarena.board.cells import split_boards
from kdarena.board.formats import csv_text, escape_markdown, markdown
from kdarena.board.rows import Row, name_of, rows
from kdarena.errors import UserError
from kdarena.files import write_atomically
from kdarena.record.output import safe_name


def publish(frame: pd.DataFrame, directory: Path) -> list[Path]:
    """Write each board of a leaderboard frame to ``directory``, with the ids of its runs; returns the files.

    Raises:
        UserError: the directory can't be written.
    """
    written: list[Path] = []
    taken: set[str] = set()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        counts = Counter(_plain_name(rows(board)[0]) for board in split_boards(frame))
        for board in split_boards(frame):
            name = _file_name(rows(board)[0], counts, taken)
            taken.add(name)
            ids = "\n".join(f"- {escape_markdown(name_of(row))}: {' '.join(row['run_ids'])}" for row in rows(board))
            for suffix, text in ((".md", f"{markdown(board)}\nRuns:\n\n{ids}\n"), (".csv", csv_text(board))):
                path = directory / f"{name}{suffix}"
                write_atomically(path, text)
                written.append(path)
    except OSError as error:
        raise UserError(
            f"{directory}: the boards can't be written there ({error.strerror or error}); make space, or: kdarena leaderboard --publish DIR"
        ) from error
    return written


def _plain_name(row: Row) -> str:
    """Task, budget and machine."""
    parts = [safe_name(row["task"]), f"{row['budget']:.4g}{row['unit']}".replace("+", ""), row["device"], row["precision"], f"{row['threads']}t"]
    if row["protocol"] != "validated":
        parts.append(row["protocol"])
    return "_".join(safe_name(part) for part in parts)


def _file_name(row: Row, counts: Mapping[str, int], taken: Collection[str]) -> str:
    """The plain name, with what else tells boards apart only where it has to: the harness's code, then a number."""
    plain = _plain_name(row)
    name = f"{plain}_{safe_name(row['code'][:8] if row['code'] else 'old')}" if counts[plain] > 1 else plain
    number = 2
    while (candidate := name if number == 2 and name not in taken else f"{name}_{number}") in taken:
        number += 1
    return candidate
