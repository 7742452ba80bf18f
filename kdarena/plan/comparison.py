"""What a command asks for: the board that its runs will be on, and its own identity on a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kdarena.method.declaration import REFERENCE, TeacherSpec
from kdarena.plan.board import Board
from kdarena.plan.conditions import Conditions
from kdarena.plan.entrants import Entrant
from kdarena.plan.request import Request
from kdarena.plan.spec import Unit, digest


def planned_board(conditions: Conditions, teacher_keys: Mapping[TeacherSpec, str], amount: float, unit: Unit) -> Board:
    """The board that final runs of a budget will be on."""
    return Board(
        task=conditions.card.name,
        amount=amount,
        unit=unit,
        protocol=conditions.protocol,
        precision=conditions.precision,
        data=conditions.data,
        reference=teacher_keys[REFERENCE],
        **conditions.platform,
    )


def request_digest(request: Request, conditions: Conditions, entrants: Sequence[Entrant], limit: float) -> str:
    """Names a command on a task, so that the same command gets what was allocated to it before.

    Args:
        limit: seconds that a cost profile may take, which depends on how many methods on how many tasks share the command's time.
    """
    # a task's part of the time depends on the other tasks; a stated budget does not
    sharing = sorted(request.tasks) if request.budget is None else []
    amounts = [amount and [amount.value, amount.currency] for amount in (request.budget, request.tuning_budget, request.teacher_budget)]
    return digest(
        {
            "task": conditions.card.name,
            "tasks": sharing,
            "limit": limit,
            "methods": {entrant.method.name: [entrant.plugin.source, dict(entrant.params), dict(entrant.recipe)] for entrant in entrants},
            "budget": [*amounts, request.seeds, request.total],
            "conditions": [conditions.platform, len(conditions.machine.devices), conditions.precision, conditions.data, conditions.protocol],
            # not its path: its weights are in the keys of what is trained with it
            "teacher": [request.teacher_checkpoint is not None, request.charge_teacher],
        }
    )
