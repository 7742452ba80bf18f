"""``tasks``, ``runs``, ``leaderboard``, ``export``: what is there, and what is recorded."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdarena.cli.output import print_json, print_table
from kdarena.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from kdarena.board.selection import Asked
    from kdarena.method.plugin import Plugin
    from kdarena.record.declarations import Declaration
    from kdarena.record.runs import Record

FORMATS = ("table", "md", "csv", "json", "latex")


def tasks(as_json: bool, data_root: str | None) -> None:
    """Every task, available or what is missing."""
    from kdarena.tracks import cards

    rows: list[dict[str, Any]] = []
    for card in cards():
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
    else:
        print_table(
            ["name", "track", "data", "teacher", "student", "metric", "available"],
            [
                [row["name"], row["track"], row["data_set"], row["teacher"], row["student"], row["metric"], "yes" if row["available"] else row["missing"]]
                for row in rows
            ],
        )


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
        shown = ["run_id", "task", "method", "purpose", "seed", "status", "metric", "value", "steps", "spent_s", "error"]
        rows = [[f"{value:.4g}" if isinstance(value, float) else value for value in (row[name] for name in shown)] for row in rows_of(frame)]
        print_table(shown, [[str(row[0])[:8], *row[1:]] for row in rows])


def leaderboard(out: Path, wanted: str, publish_to: Path | None, paths: Sequence[str]) -> None:
    """The boards in one format."""
    from kdarena.board import formats
    from kdarena.board.publish import publish
    from kdarena.record.runs import Record

    if wanted not in FORMATS:
        raise UserError(f"--format {wanted!r}: use one of {', '.join(FORMATS)}")
    # what is published names papers and defaults as the installed plugins do now
    plugins = None
    if paths or publish_to is not None:
        from kdarena.method.discovery import discover

        plugins = discover(paths)
    frame = boards_of(Record.open(out, create=False), out, plugins)
    if wanted == "table":
        print_boards(frame)
    else:
        text = {"md": formats.markdown, "csv": formats.csv_text, "json": formats.json_text, "latex": formats.latex}[wanted](frame)
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
    if publish_to is not None:
        for path in publish(frame, publish_to):
            print(f"written: {path}", file=sys.stderr)


def boards_of(record: Record, out: Path, plugins: Sequence[Plugin] | None = None, *, asked: Mapping[str, Asked] | None = None) -> pd.DataFrame:
    """The frame of all boards of a record, or of those of one command.

    Args:
        asked: by the keys of the runs that a command asked for; None: all runs.
        plugins: the methods, where they were imported anyway; by default what they declared when they were last, which is kept
            in the output directory, and for a method that is not kept there all plugins are imported.
    """
    from kdarena.board.leaderboard import leaderboard_frame
    from kdarena.record import declarations, samples
    from kdarena.tracks import cards

    runs = record.runs()
    if plugins is None and {run.spec.method for run in runs} - declarations.read(out).keys():
        from kdarena.method.discovery import discover  # brings torch, which a board does without

        plugins = discover()
    methods = keep_declarations(out, plugins or ())
    return leaderboard_frame(runs, methods, asked=asked, cards={card.name: card for card in cards()}, samples=samples.reader(out / "students"))


def keep_declarations(out: Path, plugins: Sequence[Plugin], run: Collection[str] = ()) -> dict[str, Declaration]:
    """Keep what methods declare in an output directory, and give it together with what was kept before.

    Args:
        run: names of the methods that a command runs: from now on their code is that which counts on a board of all runs.
    """
    from kdarena.record import declarations

    methods = {
        plugin.name: declarations.Declaration.of(plugin.method, plugin.source if plugin.name in run else "") for plugin in plugins if plugin.method is not None
    }
    with contextlib.suppress(OSError):  # another's directory may be read and not be written
        declarations.keep(out, methods)
    return declarations.merged(declarations.read(out), methods)


def print_boards(frame: pd.DataFrame) -> None:
    """The boards as tables on standard output."""
    from rich.console import Console

    from kdarena.board.table import terminal

    Console(width=None if sys.stdout.isatty() else 160).print(terminal(frame))


def export(out: Path, run: str, to: Path) -> None:
    """The student of a run."""
    from kdarena.record.export import export_student
    from kdarena.record.runs import Record

    written = export_student(Record.open(out, create=False), run, to)
    print(f"written: {written}", file=sys.stderr)
