"""The records of several output directories as one, where their runs compare; where they do not, what differs is said."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from kdarena.board.cells import clean
from kdarena.board.selection import named_of
from kdarena.board.variants import boards, settled
from kdarena.errors import UserError
from kdarena.plan.board import Board
from kdarena.record.declarations import Declaration
from kdarena.record.recorded import RecordedRun

NAMES = {
    "amount": "budget",
    "device_name": "model of the device",
    "code": "kdarena's code",
    "data": "data of the task",
    "reference": "reference teacher",
    "views": "fixed views of a sample",
}
"""What the fields of a board are called that do not say it themselves."""
DIGESTS = ("code", "data", "reference")


@dataclass(frozen=True)
class Part:
    """One of the records that are merged.

    Attributes:
        name: of its directory, as the user gave it.
        runs: all its runs.
        methods: what they declare, by name.
    """

    name: str
    runs: Sequence[RecordedRun]
    methods: Mapping[str, Declaration]


def merge(parts: Sequence[Part]) -> tuple[list[RecordedRun], dict[str, Declaration]]:
    """All runs in the order of their recording, and what their methods declare.

    On each task that several records have runs of, every two of them must share a board. Of a method whose code differs between records nobody said which
    counts, so that each version has a row.

    Raises:
        UserError: a record has no final run, or two can't be compared; the line says what differs.
    """
    boards_of = {part.name: {board: runs for board, runs in boards(settled(part.runs)).items() if not _skipped(runs)} for part in parts}
    for name, own in boards_of.items():
        if not own:
            raise UserError(f"{name} holds no final run, so that there is nothing to merge; leave it out, or run first: kdarena run --plugins all --out {name}")
    for (name, own), (other_name, other) in itertools.combinations(boards_of.items(), 2):
        for task in sorted({board.task for board in own} & {board.task for board in other}):
            _check_task(name, _on(task, own), other_name, _on(task, other))
    every = sorted((run for part in parts for run in part.runs), key=lambda run: (run.started, run.run_id))
    return every, _declared(parts)


def _skipped(runs: Iterable[RecordedRun]) -> bool:
    return all(run.result.status == "skipped" for run in runs)


def _on(task: str, all_boards: Mapping[Board, Sequence[RecordedRun]]) -> dict[Board, Sequence[RecordedRun]]:
    return {board: runs for board, runs in all_boards.items() if board.task == task}


def _check_task(name: str, own: Mapping[Board, Sequence[RecordedRun]], other_name: str, other: Mapping[Board, Sequence[RecordedRun]]) -> None:
    """Raise where two records do not share a board of a task, or share one of which the same runs were committed by other step costs."""
    shared = own.keys() & other.keys()
    if not shared:
        differences = min((_differences(one, another) for one, another in itertools.product(own, other)), key=len)
        raise UserError(
            f"{name} and {other_name} can't be merged: on {clean(next(iter(own)).task)} they differ in {', '.join(differences)}; "
            "leave one out, or repeat it as the other was run"
        )
    for board in sorted(shared):
        prices, others = _prices(own[board]), _prices(other[board])
        unequal = sorted({method for method, *_ in (key for key in prices.keys() & others.keys() if prices[key].isdisjoint(others[key]))})
        if unequal:
            raise UserError(
                f"{name} and {other_name} can't be merged: on {clean(board.task)} the step costs of {clean(', '.join(unequal))} differ, which each directory "
                "measures for itself where the budget is time; give --budget in flop, or begin both from one directory"
            )


def _prices(runs: Iterable[RecordedRun]) -> dict[tuple[str, str, str], set[object]]:
    """The step costs by which runs were committed, of each method, version and what the user fixed: step costs do not depend on what a tuner chose."""
    prices: dict[tuple[str, str, str], set[object]] = {}
    for run in runs:
        if run.spec.costs:
            prices.setdefault((run.spec.method, run.spec.source, named_of(run)), set()).add(run.spec.costs)
    return prices


def _differences(one: Board, other: Board) -> list[str]:
    """What two boards of a task differ in, each with both values."""
    names = [field.name for field in fields(Board) if getattr(one, field.name) != getattr(other, field.name)]
    if "amount" in names or "unit" in names:
        names = ["amount", *(name for name in names if name not in ("amount", "unit"))]
    return [f"{NAMES.get(name, name)} ({_shown(one, name)} and {_shown(other, name)})" for name in names]


def _shown(board: Board, name: str) -> str:
    value = getattr(board, name)
    if name == "amount":
        return f"{value:.12g} {board.unit}"
    return clean(value[:8] if name in DIGESTS else value) or "unknown"


def _declared(parts: Sequence[Part]) -> dict[str, Declaration]:
    """What methods declare, the later record's where several say it; without the code that counts where records disagree on it."""
    declared: dict[str, Declaration] = {}
    sources: dict[str, set[str]] = {}
    for part in parts:
        declared.update(part.methods)
        for name, method in part.methods.items():
            sources.setdefault(name, set()).add(method.source)
    certain = {name: next(iter(known - {""})) if len(known - {""}) == 1 else "" for name, known in sources.items()}
    return {name: replace(method, source=certain[name]) for name, method in declared.items()}
