"""``kdarena run``: from options to the arena, and the leaderboard at the end."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdarena.board.variants import CONTROLS
from kdarena.errors import UserError
from kdarena.method.discovery import Plugin, discover, select
from kdarena.plan.allocation import DEFAULT_SEEDS, DEFAULT_TOTAL, LADDER
from kdarena.plan.assignments import parse_params
from kdarena.plan.budget import Amount, parse_amount, parse_duration
from kdarena.plan.entrants import entrants_of, teachers_of
from kdarena.plan.request import Request
from kdarena.record import output
from kdarena.tracks import cards, find_card

if TYPE_CHECKING:
    from kdarena.arena.arena import Arena, Outcome
    from kdarena.record.runs import Record
    from kdarena.tracks.card import TaskCard

INTERRUPTED = 130


@dataclass(frozen=True)
class Options:
    """What was typed."""

    plugins: str
    plugin_paths: tuple[str, ...]
    tasks: str
    budget: str | None
    tuning_budget: str | None
    teacher_budget: str | None
    seeds: int | None
    workers: int | None
    device: str
    precision: str
    params: tuple[str, ...]
    protocol: str
    total: str | None
    data_root: str | None
    teacher_checkpoint: str | None
    charge_teacher: bool
    metrics: str | None
    out: Path
    dry_run: bool
    fresh: bool


def run(options: Options) -> int:
    """Carry out the command; returns its exit status."""
    found = discover(options.plugin_paths)
    chosen = with_controls(select(found, options.plugins), found)
    chosen_cards = choose_tasks(options.tasks, options.data_root)
    request = check(options, chosen, chosen_cards)
    for one in found:
        if one.error is not None and (options.plugins == "all" or one.distribution in options.plugin_paths):
            print(f"plugin {one.name} is broken: {one.error}", file=sys.stderr)
    if options.dry_run:
        describe(request, chosen, chosen_cards)
        return 0
    if options.fresh:
        from kdarena.plan.machine import find_machine

        find_machine(request.device, request.workers)  # a command that can't be carried out moves nothing
        move_aside(options.out.resolve())
    try:
        return _run(request, found, chosen, chosen_cards, named=options.plugins != "all")
    except KeyboardInterrupt:
        print("kdarena: interrupted; what is done is kept, the same command goes on", file=sys.stderr)
        return INTERRUPTED


def _run(request: Request, found: Sequence[Plugin], chosen: Sequence[Plugin], chosen_cards: Sequence[TaskCard], *, named: bool) -> int:
    with workplace(request) as (arena_of, record):
        outcome = arena_of(request).run(chosen, chosen_cards, named=named)
        print_boards(record, request.out, found)
    return report_failures(outcome)


def report_failures(outcome: Outcome) -> int:
    """Name each failed run on standard error; returns the exit status."""
    for failure in outcome.failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if outcome.failures else 0


@contextmanager
def workplace(request: Request) -> Iterator[tuple[Callable[[Request], Arena], Record]]:
    """The record, the workers and the terminal of one command; gives what makes an arena of a request, and the record."""
    from kdarena.arena.arena import Arena
    from kdarena.arena.display import display
    from kdarena.arena.recorder import Ledger
    from kdarena.engines.local import LocalEngine
    from kdarena.plan.machine import find_machine
    from kdarena.record.runs import Record
    from kdarena.record.store import Store

    machine = find_machine(request.device, request.workers)
    signal.signal(signal.SIGTERM, _interrupt)
    with Record.open(request.out) as record:
        engine = LocalEngine(
            devices=machine.devices,
            threads=machine.threads,
            teachers=request.out / "teachers",
            output=record.checkpoints,
            log=request.out / "workers.log",
            data_root=request.data_root,
            plugin_paths=request.plugin_paths,
        )
        shown = display()
        try:
            ledger = Ledger(record, Store(request.out), engine, shown, request.out / "teachers")
            yield lambda one: Arena(one, ledger, machine), record
        finally:
            shown.close()
            engine.close()


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def print_boards(record: Any, out: Path, found: Sequence[Plugin]) -> None:
    """The boards on standard output, and as files in the output directory."""
    from kdarena.board.publish import publish
    from kdarena.cli.listings import boards_of
    from kdarena.cli.listings import print_boards as print_tables

    frame = boards_of(record, out, found)
    print_tables(frame)
    for path in publish(frame, out / "leaderboards"):
        print(f"written: {path}", file=sys.stderr)


def with_controls(chosen: Sequence[Plugin], found: Sequence[Plugin]) -> list[Plugin]:
    """The chosen methods and the compulsory controls, controls first."""
    working = {one.name: one for one in found if one.error is None}
    controls = [working[name] for name in CONTROLS if name in working]
    return [*controls, *(one for one in chosen if one.name not in CONTROLS)]


def choose_tasks(names: str, data_root: str | None) -> list[TaskCard]:
    """The tasks that ``--tasks`` names; ``all`` are the embedded ones.

    Raises:
        UserError: a task is unknown, or its data is missing.
    """
    listed = [card for card in cards(data_root) if card.embedded]
    chosen = listed if names == "all" else [find_card(name.strip(), data_root) for name in names.split(",") if name.strip()]
    if not chosen:
        raise UserError("--tasks names no task (see: kdarena tasks)")
    for card in chosen:
        missing = card.missing(data_root)
        if missing:
            raise UserError(f"task {card.name}: {missing}")
    return chosen


def check(options: Options, chosen: Sequence[Plugin], chosen_cards: Sequence[TaskCard]) -> Request:
    """The options as a request.

    Raises:
        UserError: a value makes no sense.
    """
    if options.precision not in ("auto", "fp32", "bf16"):
        raise UserError(f"--precision {options.precision!r}: use auto, fp32 or bf16")
    if options.protocol not in ("validated", "published"):
        raise UserError(f"--protocol {options.protocol!r}: use validated or published")
    budget = parse_amount(options.budget) if options.budget else None
    large = [card.name for card in chosen_cards if not card.embedded]
    if budget is None and options.total is None and large:
        raise UserError(f"task {large[0]} needs --budget (as 60se or 10m a run), or --total for everything together")
    metrics = tuple(name.strip() for name in (options.metrics or "").split(",") if name.strip())
    for card in chosen_cards:
        unknown = [name for name in metrics if name not in card.metric_groups]
        if unknown:
            raise UserError(f"--metrics {unknown[0]!r}: task {card.name} knows {', '.join(card.metric_groups) or 'none'}")
    tuning = None
    if options.tuning_budget is not None:
        tuning = Amount(0.0, "s") if options.tuning_budget.strip() == "0" else parse_amount(options.tuning_budget, "--tuning-budget")
        if tuning.value and budget is None:
            raise UserError("--tuning-budget needs --budget beside it; without, tuning is fitted to --total, and 0 leaves it out")
        if tuning.value and options.protocol == "published":
            raise UserError("--protocol published trains on all of train: there is no validation part to tune on; use --tuning-budget 0")
    return Request(
        plugins=options.plugins,
        tasks=options.tasks,
        budget=budget,
        tuning_budget=tuning,
        teacher_budget=parse_amount(options.teacher_budget, "--teacher-budget") if options.teacher_budget else None,
        seeds=options.seeds,
        total=parse_duration(options.total, "--total") if options.total else None,
        device=options.device,
        workers=options.workers,
        precision=options.precision,
        params=parse_params(options.params, chosen),
        protocol=options.protocol,  # type: ignore[arg-type]
        data_root=str(Path(options.data_root).resolve()) if options.data_root else None,
        teacher_checkpoint=options.teacher_checkpoint,
        plugin_paths=options.plugin_paths,
        charge_teacher=options.charge_teacher,
        metrics=metrics,
        out=options.out,
    )


def describe(request: Request, chosen: Sequence[Plugin], chosen_cards: Sequence[TaskCard]) -> None:
    """``--dry-run``: what would be run, as far as it is known before anything is measured."""
    seeds = request.seeds or DEFAULT_SEEDS
    for card in chosen_cards:
        entrants = entrants_of(chosen, card, request)
        runnable = [entrant for entrant in entrants if entrant.runs]
        print(f"{card.name}: {card.teacher} to {card.student}, {card.train} train, {card.validation} validation, {card.test} test")
        print(f"  methods: {', '.join(entrant.method.name for entrant in runnable)}")
        for entrant in entrants:
            if entrant.skip:
                print(f"  skipped: {entrant.method.name}: {entrant.skip}")
            elif entrant.fault:
                print(f"  broken: {entrant.fault}")
        teachers = teachers_of(runnable)
        print(f"  teachers: {len(teachers)}, each {card.recipe.teacher_epochs:g} epochs by the recipe")
        print(f"  final runs: {len(runnable)} methods x {seeds} seeds in the default setting, and as many in the tuned one where tuning finds a better")
        print(f"  controls: the student alone at {', '.join(f'{share:g}' for share in LADDER)} of the budget, {seeds} seeds each")
        if request.budget is None:
            print(f"  budget of a run: fitted to {(request.total or DEFAULT_TOTAL) / 60:g} minutes in total, once a step of each method has been measured")
            continue
        print(f"  budget of a run: {request.budget}")
        budgets = len(runnable) * seeds * 2 + sum(LADDER) * seeds
        print(
            f"  final runs and controls together: at most {budgets:g} budgets ({Amount(budgets * request.budget.value, request.budget.currency)}), tuning besides"
        )


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
