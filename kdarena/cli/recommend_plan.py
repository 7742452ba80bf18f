"""``kdarena recommend --dry-run``: what would be done, as far as it is known before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence

from kdarena.cli.output import paragraph
from kdarena.method.plugin import Plugin
from kdarena.plan.allocation import DEFAULT_TOTAL
from kdarena.plan.amounts import Amount
from kdarena.plan.entrants import entrants_of, teachers_of
from kdarena.plan.estimate import Work, declared_work, on_workers, spoken
from kdarena.plan.machine import find_machine
from kdarena.plan.race_plan import least_survivors, needed_seconds, race_levels, rungs_of, stated_race_seconds
from kdarena.plan.request import CONTROLS, Request
from kdarena.tracks.card import TaskCard


def describe(request: Request, settings: int | None, chosen: Sequence[Plugin], cards: Sequence[TaskCard]) -> None:
    """Print the plan of every task, and what is known of the time that it takes."""
    levels = race_levels(settings, request.seeds)
    works = []
    for card in cards:
        entrants = entrants_of(chosen, card, request)
        runnable = [entrant for entrant in entrants if entrant.runs]
        works.append(declared_work(request, entrants, card))
        names = [entrant.method.name for entrant in runnable]
        print(paragraph(f"{card.name}: {card.teacher} to {card.student}, {card.train} training, {card.validation} validation and {card.test} test samples"))
        lines = [
            f"methods: {', '.join(names)}",
            f"teachers: {len(teachers_of(runnable))}",
            f"settings: {levels[0].settings} of each method, its defaults first",
            *_rungs(len(names), levels[0].settings),
            f"final runs: at most {least_survivors(len(names))} methods, {' and '.join(name for name in CONTROLS if name in names)} among them, on {levels[0].seeds} fresh seeds",
        ]
        for line in lines:
            print(paragraph(f"  {line}"))
    for line in _time(request, works, settings):
        print(paragraph(line))


def _rungs(methods: int, settings: int) -> list[str]:
    return [
        f"rung {number}: at most {rung.entering} settings, runs of {rung.part} of the budget, {len(rung.seeds)} trial seeds"
        for number, rung in enumerate(rungs_of(methods, settings), 1)
    ]


def _time(request: Request, works: Sequence[Work], settings: int | None) -> list[str]:
    workers = len(find_machine(request.device, request.workers).devices)
    levels = race_levels(settings, request.seeds)
    if request.budget is not None:
        if request.budget.currency == "flop":
            return [f"budget of a final run: {request.budget}; how long that takes is printed once the first steps have been measured"]
        seconds = stated_race_seconds(works, request.budget, levels[0], workers)
        return [f"budget of a final run: {request.budget}; by declared costs everything takes at most about {spoken(seconds)} {on_workers(workers)}"]
    needed = needed_seconds(works, levels[-1], workers)
    total = Amount(DEFAULT_TOTAL if request.total is None else request.total, "s")
    return [
        f"budget of a final run: fitted to {total} in total, once the step cost of each method has been measured",
        "where time is short: the budget of a run goes down to the least, then settings to 2, then seeds to 3",
        f"by declared costs at least about {spoken(needed)} are needed {on_workers(workers)}",
    ]
