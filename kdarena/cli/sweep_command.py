"""``kdarena sweep METHOD.NAME=a,b,c``: runs over one parameter, a table and a curve."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kdarena.cli.arena_command import INTERRUPTED, Options, check, choose_tasks, report_failures, with_controls, workplace
from kdarena.cli.output import print_table
from kdarena.errors import UserError
from kdarena.method.discovery import Plugin, discover, select
from kdarena.plan.request import Request

if TYPE_CHECKING:
    from kdarena.board.sweep import Sweep
    from kdarena.record.recorded import RecordedRun
    from kdarena.record.runs import Record
    from kdarena.tracks.card import TaskCard

DEFAULT_BUDGET = "100se"


def sweep(text: str, options: Options) -> int:
    """Carry out the command; returns its exit status."""
    from kdarena.board.sweep import parse_sweep

    found = discover(options.plugin_paths)
    wanted = parse_sweep(text, found)
    chosen = with_controls(select(found, wanted.method), found)
    cards = choose_tasks(options.tasks, options.data_root)
    if len(cards) != 1:
        raise UserError("sweep takes one task: name it with --tasks")
    request = check(replace(options, budget=options.budget or DEFAULT_BUDGET, tuning_budget="0"), chosen, cards)
    request = replace(request, swept=wanted.method)
    if wanted.method in [one.name for one in chosen[:1]]:
        raise UserError("the student alone is the control of every sweep; sweep another method")
    if options.dry_run:
        print(f"{cards[0].name}: {wanted.title} over {', '.join(map(str, wanted.values))}, {request.budget} a run")
        return 0
    try:
        return _run(request, wanted, chosen, cards[0])
    except KeyboardInterrupt:
        print("kdarena: interrupted; what is done is kept, the same command goes on", file=sys.stderr)
        return INTERRUPTED


def _run(request: Request, sweep: Sweep, chosen: Sequence[Plugin], card: TaskCard) -> int:
    with workplace(request) as (arena_of, record):
        amounts = set()
        for value in sweep.values:
            fixed = {**request.params.get(sweep.method, {}), sweep.parameter: value}
            arena = arena_of(replace(request, params={**request.params, sweep.method: fixed}))
            outcome = arena.run(chosen, [card], named=True)
            amounts.add(arena.ledger.board_amount)
        _show(request, sweep, card, record, amounts)
    return report_failures(outcome)


def _show(request: Request, sweep: Sweep, card: TaskCard, record: Record, amounts: set[float]) -> None:
    """The table on standard output, and table and curve as files."""
    from kdarena.arena.arena import SWEPT
    from kdarena.board.cells import clean
    from kdarena.board.formats import csv_text
    from kdarena.board.sweep import draw, sweep_frame
    from kdarena.record.output import write_atomically

    runs = [run for run in record.runs() if run.spec.task == card.name and float(run.facts.get("budget", "nan")) in amounts]
    mine = [run for run in runs if run.setting == SWEPT and run.spec.method == sweep.method and run.spec.metric_groups == request.metrics]
    given = request.params.get(sweep.method, {})
    by_value: dict[Any, dict[int, Any]] = {}
    for run in mine:
        value = run.spec.params.get(sweep.parameter)
        if run.spec.source == mine[-1].spec.source and _fixed(run) == {**given, sweep.parameter: value}:
            by_value.setdefault(value, {})[run.spec.seed] = run
    metric = f"test/{card.metric}"
    finals = [run for run in runs if run.spec.purpose == "final" and run.spec.method == "student" and metric in run.result.metrics]
    finals = [run for run in finals if _fixed(run) == request.params.get("student", {})]
    student = {run.spec.seed: run.result.metrics[metric] for run in finals}
    frame = sweep_frame(sweep, by_value, student, card.metric)
    further = [json.loads(text) if text else {} for text in frame["further_json"]]
    shown = [name for name in dict.fromkeys(name for one in further for name in one) if name in SHOWN]
    headings = [sweep.title, f"test {card.metric}", "Δ student", "steps", "seeds", "status", *shown]
    print_table(headings, [_cells(row, one, shown) for row, one in zip(frame.to_dict("records"), further, strict=True)])
    folder = request.out / "sweeps"
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"{clean(card.name).replace(':', '_')}_{sweep.method}.{sweep.parameter}"
    write_atomically(place.with_name(place.name + ".csv"), csv_text(frame))
    curve = place.with_name(place.name + ".svg")
    draw(frame, {name: [one.get(name) for one in further] for name in shown}, statistics.fmean(student.values()) if student else None, curve)
    print(f"written: {place}.csv\nwritten: {curve}", file=sys.stderr)


def _fixed(run: RecordedRun) -> dict[str, Any]:
    """What differed from the defaults in a run: of an earlier sweep or a tuned run other things did."""
    return {**run.spec.params, **run.spec.recipe}


SHOWN = ("generalisation", "pgd20", "corruption/mean", "prr/entropy")
"""Further metrics that have a column of the table and a panel of the curve, where they were asked for."""


def _cells(row: dict[Any, Any], further: dict[str, float | None], shown: Sequence[str]) -> list[str]:
    mean = "" if row["mean"] is None else f"{row['mean']:.2f}" + (f" ± {row['ci_high'] - row['mean']:.2f}" if row["ci_high"] is not None else "")
    difference = "" if row["delta_student"] is None else f"{row['delta_student']:+.2f}"
    numbers = [further.get(name) for name in shown]
    return [
        str(row["value"]),
        mean,
        difference,
        str(row["steps"] or ""),
        str(row["seeds"]),
        row["status"],
        *("" if one is None else f"{one:.2f}" for one in numbers),
    ]
