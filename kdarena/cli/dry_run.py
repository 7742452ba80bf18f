"""``kdarena run --dry-run``: what would be run, as far as it is known before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from kdarena.cli.output import paragraph
from kdarena.method.plugin import Plugin
from kdarena.plan.allocation import DEFAULT_TOTAL, LADDER, final_runs
from kdarena.plan.amounts import Amount
from kdarena.plan.entrants import Entrant, entrants_of, teachers_of
from kdarena.plan.estimate import Work, declared_work, needed_total, on_workers, spoken, stated_seconds
from kdarena.plan.levels import DEFAULT_SEEDS, FEWEST_SEEDS, Level
from kdarena.plan.machine import find_machine
from kdarena.plan.request import CONTROLS, Request
from kdarena.plan.tuning import TRIAL_SHARE, TUNING_SHARE
from kdarena.tracks.card import TaskCard


def describe(request: Request, chosen: Sequence[Plugin], cards: Sequence[TaskCard]) -> None:
    """Print the plan of every task, and what is known of the time that it takes.

    Raises:
        UserError: the user's own teacher has weights that can't be used.
    """
    for card in cards:
        _check_teacher(request, card)
    entered = [entrants_of(chosen, card, request) for card in cards]
    for card, entrants in zip(cards, entered, strict=True):
        print(paragraph(f"{card.name}: {card.teacher} to {card.student}, {card.train} training, {card.validation} validation and {card.test} test samples"))
        for line in [*_methods(entrants), *_runs(request, card, [entrant for entrant in entrants if entrant.runs])]:
            print(paragraph(f"  {line}"))
    if request.budget is None and request.total is None:
        return
    machine = find_machine(request.device, request.workers, elsewhere=True)
    if machine.kind == "cuda" and request.budget is not None:
        from kdarena.cli.dry_run_hours import print_hours

        print_hours(request, entered, cards, machine)
    else:
        workers = len(machine.devices)
        print(paragraph(_time(request, [declared_work(request, entrants, card) for card, entrants in zip(cards, entered, strict=True)], workers)))


def _check_teacher(request: Request, card: TaskCard) -> None:
    """Read the weights of the user's own teacher, as the command itself does first: a plan that it refuses is none."""
    given = request.given_teacher(card)
    if given is None or not card.teacher_trainable:  # one that can't be trained was read with the task
        return
    from kdarena.arena.teachers import adopt_checkpoint, adopt_whole

    with TemporaryDirectory() as folder:
        if given.checkpoint is None:
            adopt_whole(card, Path(folder), request.data_root)
            return
        adopt_checkpoint(Path(given.checkpoint), card, Path(folder), request.data_root, request.teacher_weights, lambda line: print(paragraph(line)))


def _methods(entrants: Sequence[Entrant]) -> list[str]:
    """The methods that run, and those that don't with the reason; methods with the same reason share a line."""
    reasons: dict[str, list[str]] = {}
    for entrant in entrants:
        if entrant.skip:
            reasons.setdefault(entrant.skip, []).append(entrant.method.name)
    return [
        f"methods: {', '.join(entrant.method.name for entrant in entrants if entrant.runs)}",
        *(f"skipped: {', '.join(names)}: {reason}" for reason, names in reasons.items()),
        *(f"broken: {entrant.fault}" for entrant in entrants if entrant.fault and not entrant.skip),
    ]


def _runs(request: Request, card: TaskCard, runnable: Sequence[Entrant]) -> list[str]:
    seeds = request.seeds or DEFAULT_SEEDS
    shares = ", ".join(f"1/{1 / share:g}" for share in LADDER)
    which = "with default settings" if not request.tunes else "with default and tuned settings" if request.both else "with the setting that wins its trials"
    lines = [
        f"scope: {'each method on the tracks of its paper, the controls everywhere (--scope own)' if request.scope == 'own' else 'methods run wherever their equations hold (--scope all)'}",
        f"teachers: {_teachers(request, card, len(teachers_of(runnable)))}",
        f"tuning: {_tuning(request)}",
        f"final runs: {len(runnable)} methods x {seeds} seeds {which}",
        f"controls: the student alone at {shares} of the budget with each setting that it has final runs of, {seeds} seeds each",
    ]
    if request.side_by_side is not None:
        lines.append(f"side by side: {request.side_by_side} runs on a device (--side-by-side {request.side_by_side})")
    if request.ladder.factors:
        lines.append(
            f"ladder: {', '.join(f'{factor:g}' for factor in request.ladder.factors)} budgets of a run, of {_climbers(request, len(runnable))}, {seeds} seeds each"
        )
    if request.budget is None:
        minutes = (request.total or DEFAULT_TOTAL) / 60
        return [
            *lines,
            f"budget of a run: fitted to {minutes:g} minutes in total, once the step cost of each method has been measured",
            f"where time is short: the budget of a run goes down to the least, then seeds to {request.seeds or FEWEST_SEEDS}, then trials, then whole tasks",
        ]
    budgets, _ = final_runs(len(runnable), Level(seeds, request.tunes), both=request.both, ladder=request.ladder)
    together = Amount(budgets * request.budget.value, request.budget.currency)
    return [
        *lines,
        f"budget of a run: {request.budget}",
        f"final runs and controls together: at most {budgets:g} budgets ({together}), in addition to tuning",
    ]


def _climbers(request: Request, methods: int) -> str:
    """Which methods are trained along the ladder."""
    if request.ladder.most is None:
        return f"all {methods} methods"
    return f"the controls and at most {request.ladder.most - len(CONTROLS)} methods of the leading group"


def _teachers(request: Request, card: TaskCard, count: int) -> str:
    """How many there are, and how long those are trained that the user does not give."""
    length = f"{request.teacher_budget} (--teacher-budget)" if request.teacher_budget is not None else f"{card.recipe.teacher_epochs:g} epochs by the recipe"
    if count and request.gives_teacher(card):
        return f"{count}, of which yours is not trained{f', each other for {length}' if count > 1 else ''}"
    return f"{count}, each for {length}"


def _tuning(request: Request) -> str:
    """What tuning takes, and how."""
    if not request.tunes:
        return "none"
    amount = f"{TUNING_SHARE:g} budgets of a run" if request.tuning_budget is None else str(request.tuning_budget)
    return f"{amount} for each method, in trials of {TRIAL_SHARE:g} of a run's budget or of 50 steps; the best candidate and the defaults are compared on fresh seeds"


def _time(request: Request, works: Sequence[Work], workers: int) -> str:
    """How long the command takes, where that is known without measuring."""
    if request.budget is None:
        needed = spoken(needed_total(request, works, workers))
        return f"by declared costs at least about {needed} are needed {on_workers(workers)}; the first measured steps decide before anything is trained"
    if request.budget.currency == "s" and (request.tuning_budget is None or request.tuning_budget.currency == "s"):
        return f"by declared costs the whole command takes at most about {spoken(stated_seconds(request, works, workers))} {on_workers(workers)}"
    return "how long the command takes is known, and printed, only once the first steps have been measured"
