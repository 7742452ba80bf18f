"""``tasks``, ``runs``, ``leaderboard``, ``export``: what is there, and what is recorded."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdarena.board.screen import Column, clean, numbers, screen_width
from kdarena.cli.output import paragraph, print_json, print_table, texts
from kdarena.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from kdarena.tracks.card import TaskCard


FORMATS = ("table", "md", "csv", "json", "latex", "html")


def tasks(as_json: bool, data_root: str | None, pairs: bool = False) -> None:
    """Every data set, available or the command that gets it; as JSON, or with ``pairs``, every pair of teacher and student on it."""
    from kdarena.tracks import cards
    from kdarena.tracks.downloads import command_in

    rows: list[dict[str, Any]] = []
    for card in (*cards(), *_of_plugins()):
        missing = card.missing(data_root)
        rows.append(
            {
                "name": card.name,
                "track": card.track,
                "data_set": card.data_set,
                "teacher": card.teacher,
                "student": card.student,
                "metric": card.metric,
                "classes": card.classes,
                "train": card.train,
                "validation": card.validation,
                "test": card.test,
                "embedded": card.embedded,
                "available": missing is None,
                "missing": missing,
            }
        )
    if as_json:
        print_json(rows)
        return
    for row in rows:
        row["how"] = "yes" if row["available"] else command_in(row["missing"]) or "no"
    print_table(_pair_columns(rows) if pairs else _data_set_columns(rows))
    for data, reason in dict.fromkeys((row["data_set"], row["missing"]) for row in rows if row["how"] == "no"):
        print(paragraph(f"{data} is not available: {clean(reason)}"))
    if not pairs:
        print(
            paragraph("kdarena tasks --pairs lists the pairs of teacher and student; --data-root DIR says where the data are (fetched: data, or --root DIR).")
        )


def _of_plugins() -> list[TaskCard]:
    """The tasks that plugins bring (hook ``tasks``); one that gives no card is named on standard error."""
    from kdarena.method.discovery import listing
    from kdarena.tracks.own import OwnTask

    brought = [task for known in listing(()) if known.finding is not None for task in known.finding.tasks]
    found = []
    for name, function in brought:
        try:
            found.append(OwnTask("function", {"task_from": function, "task": name}).card())
        except UserError as error:
            print(f"task {name} is broken: {error}", file=sys.stderr)
    return found


def _data_set_columns(rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    first = list({row["data_set"]: row for row in reversed(rows)}.values())[::-1]
    pairs = Counter(row["data_set"] for row in rows)
    return [
        Column("name", texts(row["data_set"] for row in first)),
        Column("track", texts(row["track"] for row in first), order=2),
        Column("metric", texts(row["metric"] for row in first), order=3),
        Column("pairs", texts(pairs[row["data_set"]] for row in first), number=True, order=1),
        Column("available", texts(row["how"] for row in first), least=30),
    ]


def _pair_columns(rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    return [
        Column("name", texts(row["name"] for row in rows)),
        Column("available", ["yes" if row["available"] else "no" for row in rows], order=1),
        Column("metric", texts(row["metric"] for row in rows), order=2),
        Column("track", texts(row["track"] for row in rows), order=3),
        Column("teacher", texts(row["teacher"] for row in rows), order=5),
        Column("student", texts(row["student"] for row in rows), order=4),
    ]


def runs(out: Path, as_json: bool, as_csv: bool) -> None:
    """Every recorded run."""
    from kdarena.board.cells import rows as rows_of
    from kdarena.board.formats import csv_text, json_text
    from kdarena.board.frame import runs_frame
    from kdarena.record.runs import Record

    if as_json and as_csv:
        raise UserError("--json and --csv exclude each other; name one")
    frame = runs_frame(Record.open(out, create=False))
    if as_json:
        print(json_text(frame))
    elif as_csv:
        sys.stdout.write(csv_text(frame))
    else:
        print_table(_run_columns(rows_of(frame)))


def _run_columns(rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    return [
        Column("run", [row["run_id"][:8] for row in rows]),
        Column("method", texts(row["method"] for row in rows)),
        Column("task", texts(row["task"] for row in rows), order=2),
        Column("seed", texts(row["seed"] for row in rows), number=True, order=3),
        Column("for", texts(row["purpose"] for row in rows), order=5),
        Column("status", texts(row["status"] for row in rows), order=1),
        Column("value", numbers([row["value"] for row in rows]), number=True, order=4),
        Column("metric", texts(row["metric"] for row in rows), order=7),
        Column("steps", numbers([row["steps"] for row in rows], 0), number=True, order=8),
        Column("spent\ns", numbers([row["spent_s"] for row in rows], 1), number=True, order=9),
        Column("error", texts(row["error"] for row in rows), order=6, least=24),
    ]


def leaderboard(out: Path, wanted: str, publish_to: Path | None, paths: Sequence[str], merge: Sequence[Path] = (), wide: bool = False) -> None:
    """The boards in one format, of the output directory or of those that are merged."""
    from kdarena.api.boards import boards_of, page_of, read, write
    from kdarena.board import formats

    if wanted not in FORMATS:
        raise UserError(f"--format {wanted!r}: use one of {', '.join(FORMATS)}")
    found = read(out, plugin_paths=paths, merge=merge, as_installed=publish_to is not None)
    frame = boards_of(found)
    if wanted == "table":
        print_boards(frame, wide)
    elif wanted == "html":
        sys.stdout.write(page_of(frame, found))
    else:
        text = {"md": formats.markdown, "csv": formats.csv_text, "json": formats.json_text, "latex": formats.latex}[wanted](frame)
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
    if publish_to is not None:
        write(frame, publish_to, found)


def print_boards(frame: pd.DataFrame, wide: bool = False) -> None:
    """The boards as tables on standard output; ``wide`` with all columns, whatever the width of the terminal."""
    from rich.console import Console

    from kdarena.board.table import terminal

    Console(width=screen_width()).print(terminal(frame, screen_width(), wide), soft_wrap=True)


def export(out: Path, run: str, to: Path, wanted: str, data_root: str | None, force: bool) -> None:
    """The student of a run, alone or with all that it needs elsewhere."""
    from kdarena.api.export import export as export_run

    written = export_run(run, to, format=wanted, out=out, data_root=data_root, force=force)
    print(f"written: {written}", file=sys.stderr)
    for path in sorted(written.iterdir()) if written.is_dir() else ():
        print(f"    {path.name} ({path.stat().st_size:,} bytes)", file=sys.stderr)
    if written.is_dir():
        print(f"try it where kdarena is not installed: python {shlex.quote(str(written / 'load.py'))}", file=sys.stderr)
