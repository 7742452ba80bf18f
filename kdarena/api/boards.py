"""Boards as frames: those of a record, and those of one command."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pandas as pd

from kdarena.board.caption import failed_rows
from kdarena.board.formats import html
from kdarena.board.leaderboard import leaderboard_frame
from kdarena.board.merge import Part
from kdarena.board.merge import merge as merge_parts
from kdarena.board.publish import publish as publish_boards
from kdarena.plan.request import Request
from kdarena.record import declarations
from kdarena.record.runs import Record
from kdarena.tracks import cards

if TYPE_CHECKING:
    from kdarena.board.selection import Asked
    from kdarena.method.plugin import Plugin
    from kdarena.record.declarations import Declaration
    from kdarena.record.recorded import RecordedRun


class Boards(pd.DataFrame):
    """Boards one after another, a row a task and method; docs/columns.md says what the columns are. A notebook shows each with its answer.

    A part of it is an ordinary frame.

    Attributes:
        failures: a line for each run that failed and each row that can't be compared.
    """

    _metadata: ClassVar[list[str]] = ["failures"]
    failures: tuple[str, ...]

    @property
    def _constructor(self) -> Callable[..., pd.DataFrame]:
        return pd.DataFrame

    def _repr_html_(self) -> str:
        return html(self)


def boards_from(frame: pd.DataFrame) -> Boards:
    """A leaderboard frame as boards."""
    boards = Boards(frame)
    boards.failures = tuple(failed_rows(frame))
    return boards


def leaderboard(
    out: str | Path = Request.out,
    *,
    plugin_paths: str | Path | Sequence[str | Path] = (),
    publish: str | Path | None = None,
    merge: str | Path | Sequence[str | Path] = (),
) -> Boards:
    """The boards of all recorded runs, as ``kdarena leaderboard`` makes them.

    Args:
        out: the output directory.
        plugin_paths: files of your own methods.
        publish: a folder, to which the boards are written too.
        merge: output directories whose boards are made together, and not those of ``out``; they are only read.

    Raises:
        UserError: nothing is recorded there, the records can't be compared, or the folder can't be written.
    """
    paths, directories = ([one] if isinstance(one, (str, Path)) else list(one) for one in (plugin_paths, merge))
    plugins = None
    if paths or publish is not None:  # what is published names papers and defaults as the installed plugins do now
        from kdarena.method.discovery import discover

        plugins = discover(tuple(map(str, paths)))
    if directories:
        runs, methods = merged_records([Path(directory) for directory in directories], plugins)
    else:
        runs, methods = recorded(Record.open(Path(out), create=False), Path(out), plugins)
    boards = board_frame(runs, methods)
    if publish is not None:
        write(boards, Path(publish), runs)
    return boards


def write(boards: pd.DataFrame, folder: Path, runs: Sequence[RecordedRun]) -> None:
    """Write each board to a folder, with the environments of its runs, and name the files on standard error."""
    for path in publish_boards(boards, folder, runs):
        print(f"written: {path}", file=sys.stderr)


def boards_of(record: Record, out: Path, plugins: Sequence[Plugin] | None = None, *, asked: Mapping[str, Asked] | None = None) -> Boards:
    """All boards of a record, or of those of one command.

    Args:
        asked: by the keys of the runs that a command asked for; None: all runs.
        plugins: the methods, where they were imported anyway; by default what they declared when they were last, which is kept
            in the output directory, and for a method that is not kept there all plugins are imported.
    """
    return board_frame(*recorded(record, out, plugins), asked=asked)


def recorded(record: Record, out: Path, plugins: Sequence[Plugin] | None = None) -> tuple[list[RecordedRun], dict[str, Declaration]]:
    """The runs of a record and what their methods declare; ``plugins`` as for :func:`boards_of`."""
    runs = record.runs()
    if plugins is None and {run.spec.method for run in runs} - declarations.read(out).keys():
        from kdarena.method.discovery import discover  # brings torch, which a board does without

        plugins = discover()
    return runs, keep_declarations(out, plugins or ())


def merged_records(directories: Sequence[Path], plugins: Sequence[Plugin] | None = None) -> tuple[list[RecordedRun], dict[str, Declaration]]:
    """The runs of several records and what their methods declare; nothing is written to their directories.

    Raises:
        UserError: one is no output directory, or they can't be compared.
    """
    named = {directory.resolve(): directory for directory in directories}
    parts = [Part(str(directory), Record.open(directory, create=False, untouched=True).runs(), declarations.read(directory)) for directory in named.values()]
    runs, kept = merge_parts(parts)
    if plugins is None and {run.spec.method for run in runs} - kept.keys():
        from kdarena.method.discovery import discover

        plugins = discover()
    return runs, declarations.merged(kept, _declared(plugins or ()))


def board_frame(runs: Sequence[RecordedRun], methods: Mapping[str, Declaration], *, asked: Mapping[str, Asked] | None = None) -> Boards:
    """All boards of runs, or of those that a command ``asked`` for."""
    return boards_from(leaderboard_frame(runs, methods, asked=asked, cards={card.name: card for card in cards()}))


def keep_declarations(out: Path, plugins: Sequence[Plugin], run: Collection[str] = ()) -> dict[str, Declaration]:
    """Keep what methods declare in an output directory, and give it together with what was kept before.

    Args:
        run: names of the methods that a command runs: from now on their code is that which counts on a board of all runs.
    """
    methods = _declared(plugins, run)
    with contextlib.suppress(OSError):  # another's directory may be read and not be written
        declarations.keep(out, methods)
    return declarations.merged(declarations.read(out), methods)


def _declared(plugins: Sequence[Plugin], run: Collection[str] = ()) -> dict[str, Declaration]:
    """What plugins declare, with the digest of their code where they are ``run``."""
    return {
        plugin.name: declarations.Declaration.of(plugin.method, plugin.source if plugin.name in run else "") for plugin in plugins if plugin.method is not None
    }
