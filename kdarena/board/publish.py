"""Published boards: Markdown, CSV, JSON and the environment of each, from the record and never typed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from kdarena.board.cells import split_boards
from kdarena.board.formats import csv_text, escape_markdown, markdown
from kdarena.board.leaderboard import BOARD_COLUMNS
from kdarena.board.rows import Row, name_of, rows
from kdarena.errors import UserError
from kdarena.files import write_atomically
from kdarena.record.output import safe_name
from kdarena.record.recorded import RecordedRun

PAGE = "index.html"
"""Name of the page of all boards."""


def publish(frame: pd.DataFrame, directory: Path, runs: Iterable[RecordedRun] = (), page: str | None = None) -> list[Path]:
    """Write each board of a leaderboard frame to ``directory``, with the ids of its runs; returns the files.

    Args:
        runs: those that the boards are made of, for the environments that they were computed in.
        page: all boards as an HTML page, where there is one.

    Raises:
        UserError: the directory can't be written.
    """
    texts = _texts(frame, {run.run_id: run.result.environment for run in runs})
    if page is not None:
        texts[PAGE] = page
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_atomically(directory / name, text)
    except OSError as error:
        raise UserError(
            f"{directory}: the boards can't be written there ({error.strerror or error}); make space, or: kdarena leaderboard --publish DIR"
        ) from error
    return [directory / name for name in texts]


def _texts(frame: pd.DataFrame, environments: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """The files of all boards by their names."""
    texts: dict[str, str] = {}
    taken: set[str] = set()
    counts = Counter(_plain_name(rows(board)[0]) for board in split_boards(frame))
    for board in split_boards(frame):
        name = _file_name(rows(board)[0], counts, taken)
        taken.add(name)
        ids = "\n".join(f"- {escape_markdown(name_of(row))}: {' '.join(row['run_ids'])}" for row in rows(board))
        texts[f"{name}.md"] = f"{markdown(board)}\nRuns:\n\n{ids}\n"
        texts[f"{name}.csv"] = csv_text(board)
        texts[f"{name}.json"] = _json(rows(board))
        texts[f"{name}.environment.json"] = _json(_environment(rows(board), environments))
    return texts


def _json(values: Any) -> str:
    """JSON of which two versions compare line by line."""
    return json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _environment(board: list[dict[str, Any]], environments: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """What a board's numbers were computed with: what all its runs share, and each value that their environments have."""
    values: dict[str, set[str]] = {}
    for run_id in (run_id for row in board for run_id in row["run_ids"] or ()):
        for name, value in environments.get(run_id, {}).items():
            values.setdefault(name, set()).add(value)
    return {"board": {name: board[0][name] for name in BOARD_COLUMNS}, "environment": {name: ", ".join(sorted(found)) for name, found in values.items()}}


def _plain_name(row: Row) -> str:
    """Task, budget and machine."""
    parts = [safe_name(row["task"]), f"{row['budget']:.4g}{row['unit']}".replace("+", ""), row["device"], row["precision"]]
    if row["threads"]:
        parts.append(f"{row['threads']}t")
    if row["protocol"] != "validated":
        parts.append(row["protocol"])
    if row["capture"]:
        parts.append("captured")
    return "_".join(safe_name(part) for part in parts)


def _file_name(row: Row, counts: Mapping[str, int], taken: Collection[str]) -> str:
    """The plain name, with what else tells boards apart only where it has to: the harness's code, then a number."""
    plain = _plain_name(row)
    name = f"{plain}_{safe_name(row['code'][:8] if row['code'] else 'old')}" if counts[plain] > 1 else plain
    number = 2
    while (candidate := name if number == 2 and name not in taken else f"{name}_{number}") in taken:
        number += 1
    return candidate
