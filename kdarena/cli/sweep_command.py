"""``kdarena sweep METHOD.NAME=a,b,c``: runs over one parameter, a table and a curve."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kdarena.api.arguments import Typed
from kdarena.api.own import own_tasks
from kdarena.api.session import choose_tasks, open_session, request_from, with_controls
from kdarena.board.screen import Column, clean, numbers
from kdarena.cli.exit_status import interruptible
from kdarena.cli.output import print_table, texts
from kdarena.errors import UserError
from kdarena.files import replace_atomically, write_atomically
from kdarena.method.discovery import discover, select
from kdarena.method.student import Student
from kdarena.plan.amounts import Amount
from kdarena.plan.request import Request
from kdarena.tracks.card import TaskCard

if TYPE_CHECKING:
    import pandas as pd

    from kdarena.board.sweep import Sweep
    from kdarena.record.recorded import RecordedRun

DEFAULT_BUDGET = Amount(100.0, "se")
SHOWN = ("generalisation", "pgd20", "corruption/mean", "prr/entropy")
"""Further metrics that have a column of the table and a panel of the curve, where they were asked for."""


def sweep(text: str, typed: Typed, *, dry_run: bool) -> int:
    """Carry out the command; returns its exit status."""
    from kdarena.board.selection import asked_for
    from kdarena.board.sweep import parse_sweep

    plugins = discover(typed.get("plugin_paths", ()))
    asked = parse_sweep(text, plugins)
    chosen = with_controls(select(plugins, asked.method), plugins)
    own = own_tasks(typed)
    cards = choose_tasks(typed["tasks"], typed.get("data_root"), own, recipe=typed.get("recipe", "paper"))
    if len(cards) != 1:
        raise UserError("sweep takes one task: name it with --tasks")
    budget = typed.get("budget", DEFAULT_BUDGET)
    request = request_from(typed, chosen, cards, budget=budget, tuning_budget=Amount(0.0, "s"), swept=asked.method, own=own)
    if asked.method == Student.method.name:
        raise UserError("the student alone is the control of every sweep; sweep another method")
    if dry_run:
        print(f"{cards[0].name}: {asked.title} over {', '.join(map(str, asked.values))}, {request.budget} a run")
        return 0

    def work() -> Sequence[str]:
        with open_session(request) as session:
            outcomes = []
            for value in asked.values:
                fixed = {**request.params.get(asked.method, {}), asked.parameter: value}
                arena = session.arena(replace(request, params={**request.params, asked.method: fixed}))
                outcomes.append(arena.run(chosen, cards, named=True))
            session.display.close()
            show(request, asked, cards[0], asked_for(session.record.runs(), session.recorder.asked))
        return outcomes[-1].failures  # which names the failures of all

    return interruptible(work)


def show(request: Request, sweep: Sweep, card: TaskCard, runs: Sequence[RecordedRun]) -> None:
    """The table on standard output, and table and curve as files.

    Args:
        runs: of the sweep and of its controls.
    """
    from kdarena.board.sweep import runs_by_value, student_scores, sweep_frame

    by_value = runs_by_value(sweep, runs)
    student = student_scores(runs, f"test/{card.metric}")
    frame = sweep_frame(sweep, by_value, student, card.metric)
    further: list[dict[str, float | None]] = [json.loads(text) if text else {} for text in frame["further_json"]]
    shown = [name for name in dict.fromkeys(name for values in further for name in values) if name in SHOWN]
    print_table(_columns(sweep, frame, card, further, shown))
    series = {name: [values.get(name) for values in further] for name in shown}
    _write(request.out / "sweeps", sweep, card, frame, series, statistics.fmean(student.values()) if student else None)


def _write(folder: Path, sweep: Sweep, card: TaskCard, frame: pd.DataFrame, series: Mapping[str, Sequence[float | None]], student: float | None) -> None:
    from kdarena.board.formats import csv_text
    from kdarena.board.sweep import draw

    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"{clean(card.name).replace(':', '_')}_{sweep.method}.{sweep.parameter}"
    write_atomically(place.with_name(place.name + ".csv"), csv_text(frame))
    with replace_atomically(place.with_name(place.name + ".svg")) as partial:
        draw(frame, series, student, partial)
    print(f"written: {place}.csv\nwritten: {place}.svg", file=sys.stderr)


def _columns(sweep: Sweep, frame: pd.DataFrame, card: TaskCard, further: Sequence[Mapping[str, float | None]], shown: Sequence[str]) -> list[Column]:
    halves = [None if high is None else high - mean for mean, high in zip(frame["mean"], frame["ci_high"], strict=True)]
    return [
        Column(sweep.title, texts(frame["value"]), number=True),
        Column(f"test\n{card.metric} %", numbers(list(frame["mean"])), number=True, order=1),
        Column("±\n95 %", numbers(halves), number=True, order=2),
        Column(f"gain over\n{Student.method.name}", numbers(list(frame["delta_student"]), sign=True), number=True, order=3),
        *(Column(name, numbers([values.get(name) for values in further]), number=True, order=4) for name in shown),
        Column("status", texts(frame["status"]), order=5),
        Column("steps", numbers(list(frame["steps"]), 0), number=True, order=7),
        Column("seeds", texts(frame["seeds"]), number=True, order=6),
    ]
