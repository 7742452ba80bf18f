"""``kdarena plugins cost``: what a step of each method costs, in steps of the plain student."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kdarena.api.own import own_tasks
from kdarena.board.screen import Column, numbers
from kdarena.cli.options import Typed
from kdarena.cli.output import print_json, print_table, texts
from kdarena.errors import UserError
from kdarena.method.discovery import discover, select
from kdarena.method.plugin import STUDENT
from kdarena.plan.conditions import Conditions, conditions_of
from kdarena.plan.cost import CostProfile
from kdarena.plan.entrants import Entrant, entrants_of
from kdarena.plan.machine import find_machine
from kdarena.plan.request import Request
from kdarena.tracks import check_data, find_card
from kdarena.tracks.card import TaskCard

DEFAULT = "digits"
"""The task on which costs are measured where none is named or brought."""
BRINGS = frozenset(("images", "text", "task_from"))
"""Options that bring a task."""


def cost(task: str | None, as_json: bool, typed: Typed) -> None:
    """Print each method's step cost on a task. Costs do not depend on weights, so the teachers are untrained ones."""
    own = own_tasks({**typed, "tasks": task if task is not None else "all" if typed.keys() & BRINGS else DEFAULT})
    if len(own) > 1:
        raise UserError("plugins cost measures on one task; bring one, or name one by --task")
    request = Request(**typed, own=own)
    card = own[0].card() if own else find_card(task or DEFAULT, request.data_root)
    for warning in check_data(card, request.data_root):
        print(f"task {card.name}: {warning}", file=sys.stderr)
    conditions = _in_faster_precision(request, card)
    entrants = entrants_of(select(discover(request.plugin_paths), "all"), card, request)
    rows = _measure([entrant for entrant in entrants if entrant.runs], conditions, request)
    rows.extend(_unmeasured(entrant.method.name, entrant.skip or entrant.fault) for entrant in entrants if not entrant.runs)
    if as_json:
        print_json(rows)
    else:
        print_table(_columns(rows))


def _in_faster_precision(request: Request, card: TaskCard) -> Conditions:
    """The conditions in the precision in which runs on the task would be trained here."""
    from kdarena.arena.precision import faster
    from kdarena.arena.untrained import untrained_profiles

    machine = find_machine(request.device, 1)
    plain = conditions_of(request, card, machine)
    if machine.precision(request.precision, request.protocol) is not None:
        return plain

    def seconds(conditions: Conditions) -> float | None:
        return untrained_profiles([Entrant(STUDENT, {}, {}, ())], conditions, request, timed=True)[STUDENT.name].student_s

    return faster([plain], [replace(plain, precision="bf16")], seconds)[0]


def _measure(entrants: Sequence[Entrant], conditions: Conditions, request: Request) -> list[dict[str, Any]]:
    """A row for each phase of each method, in the order in which they were measured."""
    from kdarena.arena.untrained import untrained_profiles

    rows: list[dict[str, Any]] = []

    def measured(name: str, profile: CostProfile) -> None:
        rows.extend(_rows(name, profile))
        print(f"{name} measured", file=sys.stderr)

    untrained_profiles(entrants, conditions, request, timed=True, measured=measured)
    return rows


def _rows(name: str, profile: CostProfile) -> list[dict[str, Any]]:
    if profile.status != "done":
        return [_unmeasured(name, f"{profile.status}: {profile.error}")]
    return [
        {
            "method": name,
            "phase": phase.phase,
            "step_cost": phase.relative,
            "error_percent": 100 * phase.error if phase.error is not None else None,
            "gflop": phase.flops / 1e9,
            "fixed_steps": phase.steps,
            "note": None,
        }
        for phase in profile.phases
    ]


def _unmeasured(name: str, note: str | None) -> dict[str, Any]:
    return {"method": name, "phase": None, "step_cost": None, "error_percent": None, "gflop": None, "fixed_steps": None, "note": note}


def _columns(rows: Sequence[dict[str, Any]]) -> list[Column]:
    return [
        Column("method", texts(row["method"] for row in rows)),
        Column("student\nsteps", numbers([row["step_cost"] for row in rows]), number=True, order=1),
        Column("±\n%", numbers([row["error_percent"] for row in rows], 1), number=True, order=2),
        Column("phase", texts(row["phase"] for row in rows), order=3),
        Column("fixed\nsteps", texts(row["fixed_steps"] for row in rows), number=True, order=5),
        Column("GFLOP\na step", numbers([row["gflop"] for row in rows], 3), number=True, order=4),
        Column("note", texts(row["note"] for row in rows), order=6, least=24),
    ]
