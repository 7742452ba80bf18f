"""Boards as frames: those of a record, and those of one command."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pandas as pd

from kdarena.api.records import Recorded, merged, recorded
from kdarena.board.caption import failed_rows
from kdarena.board.formats import html
from kdarena.board.leaderboard import leaderboard_frame
from kdarena.board.page import page
from kdarena.board.publish import publish as publish_boards
from kdarena.plan.request import Request
from kdarena.record.runs import Record
from kdarena.tracks import cards

if TYPE_CHECKING:
    from kdarena.board.selection import Asked


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
    found = read(out, plugin_paths=plugin_paths, merge=merge, as_installed=publish is not None)
    boards = boards_of(found)
    if publish is not None:
        write(boards, Path(publish), found)
    return boards


def read(
    out: str | Path, *, plugin_paths: str | Path | Sequence[str | Path] = (), merge: str | Path | Sequence[str | Path] = (), as_installed: bool = False
) -> Recorded:
    """What the boards are made of; arguments as above.

    Args:
        as_installed: whether papers and defaults are named as the installed plugins do now, and not as they did when their runs were made.
    """
    paths, directories = ([one] if isinstance(one, (str, Path)) else list(one) for one in (plugin_paths, merge))
    plugins = None
    if paths or as_installed:
        from kdarena.method.discovery import discover

        plugins = discover(tuple(map(str, paths)))
    if directories:
        return merged([Path(directory) for directory in directories], plugins)
    return recorded(Record.open(Path(out), create=False), Path(out), plugins)


def boards_of(found: Recorded, *, asked: Mapping[str, Asked] | None = None) -> Boards:
    """All boards of what is recorded, or of those of one command.

    Args:
        asked: by the keys of the runs that a command asked for; None: all runs.
    """
    return boards_from(leaderboard_frame(found.runs, found.methods, asked=asked, cards={card.name: card for card in cards()}, samples=found.samples))


def page_of(boards: pd.DataFrame, found: Recorded) -> str:
    """The page of boards."""
    return page(boards, found, runs=found.runs)


def write(boards: pd.DataFrame, folder: Path, found: Recorded) -> None:
    """Write each board to a folder, with the environments of its runs, and the page of all; and name the files on standard error."""
    for path in publish_boards(boards, folder, found.runs, page_of(boards, found)):
        print(f"written: {path}", file=sys.stderr)
