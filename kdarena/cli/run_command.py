"""``kdarena run``: the arena, and the leaderboards at the end."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kdarena.cli.options import Typed, names
from kdarena.cli.session import choose_tasks, interruptible, open_session, request_from, with_controls
from kdarena.method.discovery import Plugin, discover, select
from kdarena.plan.allocation import DEFAULT_SEEDS, DEFAULT_TOTAL, LADDER
from kdarena.plan.amounts import Amount
from kdarena.plan.entrants import entrants_of, teachers_of
from kdarena.plan.machine import find_machine
from kdarena.plan.request import Request
from kdarena.record import output
from kdarena.tracks.card import TaskCard

if TYPE_CHECKING:
    from kdarena.arena.arena import Outcome
    from kdarena.record.runs import Record


def run(methods: str, typed: Typed, *, dry_run: bool, fresh: bool) -> int:
    """Carry out the command; returns its exit status.

    Args:
        methods: names with commas, or ``all``.
    """
    wanted = names(methods)
    plugins = discover(typed.get("plugin_paths", ()))
    chosen = with_controls(select(plugins, ",".join(wanted)), plugins)
    cards = choose_tasks(typed["tasks"], typed.get("data_root"))
    request = request_from(typed, chosen, cards)
    named = wanted != ("all",)
    _name_broken(plugins, request, named)
    if dry_run:
        describe(request, chosen, cards)
        return 0
    if fresh:
        find_machine(request.device, request.workers)  # a command that can't be carried out moves nothing
        move_aside(request.out.resolve())

    def work() -> Outcome:
        with open_session(request) as session:
            outcome = session.arena(request).run(chosen, cards, named=named)
            print_boards(session.record, request.out, plugins)
        return outcome

    return interruptible(work)


def _name_broken(plugins: Sequence[Plugin], request: Request, named: bool) -> None:
    """Name each broken plugin that the user may have counted on."""
    for plugin in plugins:
        if plugin.error is not None and (not named or plugin.distribution in request.plugin_paths):
            print(f"plugin {plugin.name} is broken: {plugin.error}", file=sys.stderr)


def print_boards(record: Record, out: Path, plugins: Sequence[Plugin]) -> None:
    """The boards on standard output, and as files in the output directory."""
    from kdarena.board.publish import publish
    from kdarena.cli.listings import boards_of
    from kdarena.cli.listings import print_boards as print_tables

    frame = boards_of(record, out, plugins)
    print_tables(frame)
    for path in publish(frame, out / "leaderboards"):
        print(f"written: {path}", file=sys.stderr)


def describe(request: Request, chosen: Sequence[Plugin], cards: Sequence[TaskCard]) -> None:
    """``--dry-run``: what would be run, as far as it is known before anything is measured."""
    for card in cards:
        _describe_task(request, chosen, card)


def _describe_task(request: Request, chosen: Sequence[Plugin], card: TaskCard) -> None:
    seeds = request.seeds or DEFAULT_SEEDS
    entrants = entrants_of(chosen, card, request)
    runnable = [entrant for entrant in entrants if entrant.runs]
    print(f"{card.name}: {card.teacher} to {card.student}, {card.train} train, {card.validation} validation, {card.test} test")
    print(f"  methods: {', '.join(entrant.method.name for entrant in runnable)}")
    for entrant in entrants:
        if entrant.skip:
            print(f"  skipped: {entrant.method.name}: {entrant.skip}")
        elif entrant.fault:
            print(f"  broken: {entrant.fault}")
    print(f"  teachers: {len(teachers_of(runnable))}, each {card.recipe.teacher_epochs:g} epochs by the recipe")
    print(f"  final runs: {len(runnable)} methods x {seeds} seeds in the default setting, and as many in the tuned one where tuning finds a better")
    print(f"  controls: the student alone at {', '.join(f'{share:g}' for share in LADDER)} of the budget, {seeds} seeds each")
    if request.budget is None:
        print(f"  budget of a run: fitted to {(request.total or DEFAULT_TOTAL) / 60:g} minutes in total, once a step of each method has been measured")
        return
    print(f"  budget of a run: {request.budget}")
    budgets = len(runnable) * seeds * 2 + sum(LADDER) * seeds
    together = Amount(budgets * request.budget.value, request.budget.currency)
    print(f"  final runs and controls together: at most {budgets:g} budgets ({together}), in addition to tuning")


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
