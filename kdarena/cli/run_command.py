"""``kdarena run``: the arena, and the leaderboards at the end."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kdarena.cli.dry_run import describe
from kdarena.cli.listings import keep_declarations
from kdarena.cli.options import Typed, names
from kdarena.cli.session import choose_tasks, interruptible, open_session, request_from, with_controls
from kdarena.method.discovery import discover, select
from kdarena.method.plugin import Plugin
from kdarena.plan.ladder import LEADERS, Ladder
from kdarena.plan.machine import find_machine
from kdarena.plan.request import CONTROLS, Request
from kdarena.record import output

if TYPE_CHECKING:
    from kdarena.arena.arena import Outcome
    from kdarena.board.selection import Asked
    from kdarena.record.runs import Record


def run(methods: str, typed: Typed, *, dry_run: bool, fresh: bool) -> int:
    """Carry out the command; returns its exit status.

    Args:
        methods: names with commas, or ``all``.
    """
    started = time.monotonic()
    wanted = names(methods)
    plugins = discover(typed.get("plugin_paths", ()))
    chosen = with_controls(select(plugins, ",".join(wanted)), plugins)
    cards = choose_tasks(typed["tasks"], typed.get("data_root"))
    named = wanted != ("all",)
    request = request_from(typed, chosen, cards, scope=typed.get("scope", "all" if named else "own"), ladder=_ladder(typed, named))
    _name_broken(plugins, request, named)
    if dry_run:
        describe(request, chosen, cards)
        return 0
    if fresh:
        find_machine(request.device, request.workers)  # a command that can't be carried out moves nothing
        move_aside(request.out.resolve())

    def work() -> Outcome:
        with open_session(request) as session:
            keep_declarations(request.out, plugins, {plugin.name for plugin in chosen})
            outcome = session.arena(request, started).run(chosen, cards, named=named)
            failed = print_boards(session.record, request.out, plugins, session.recorder.asked)
        return replace(outcome, failures=(*outcome.failures, *failed))

    return interruptible(work)


def _ladder(typed: Typed, named: bool) -> Ladder:
    """The ladder that was typed: of the methods named, or else of the controls and the best of the leading group."""
    ladder: Ladder = typed.get("ladder", Ladder())
    return replace(ladder, most=None if named else len(CONTROLS) + LEADERS)


def _name_broken(plugins: Sequence[Plugin], request: Request, named: bool) -> None:
    """Name each broken plugin that the user may have counted on."""
    files = {str(Path(path)) for path in request.plugin_paths}
    for plugin in plugins:
        if plugin.error is not None and (not named or plugin.distribution in files):
            print(f"plugin {plugin.name} of {plugin.distribution} is broken: {plugin.error}", file=sys.stderr)


def print_boards(record: Record, out: Path, plugins: Sequence[Plugin], asked: Mapping[str, Asked]) -> list[str]:
    """The command's boards on standard output, and as files in the output directory; returns a line for each row that failed.

    Args:
        asked: by the keys of the command's runs; what else the directory has is on ``kdarena leaderboard``.
    """
    from kdarena.board.cells import failed_rows
    from kdarena.board.publish import publish
    from kdarena.cli.listings import boards_of
    from kdarena.cli.listings import print_boards as print_tables

    frame = boards_of(record, out, plugins, asked=asked)
    print_tables(frame)
    for path in publish(frame, out / "leaderboards"):
        print(f"written: {path}", file=sys.stderr)
    return failed_rows(frame)


def move_aside(directory: Path) -> None:
    """Keep an old output directory under a name with the time; nothing recorded is ever lost.

    Raises:
        UserError: it is no output directory of ours, or another process writes there.
    """
    if directory.is_dir() and any(directory.iterdir()):
        output.check(directory)
        output.lock(directory).close()
        aside = directory.with_name(f"{directory.name}.{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
        directory.rename(aside)
        print(f"the old output directory is now {aside}", file=sys.stderr)
