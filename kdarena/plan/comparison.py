"""What a command asks for: its identity on a task."""

from __future__ import annotations

from collections.abc import Sequence

from kdarena.plan.conditions import Conditions
from kdarena.plan.entrants import Entrant
from kdarena.plan.request import Request
from kdarena.plan.spec import digest


def request_digest(request: Request, conditions: Conditions, entrants: Sequence[Entrant]) -> str:
    """Names a command on a task, so that the same command gets what was allocated to it before."""
    # a task's part of the time depends on the other tasks; a stated budget does not
    sharing = sorted(request.tasks) if request.budget is None else []
    amounts = [amount and [amount.value, amount.currency] for amount in (request.budget, request.tuning_budget, request.teacher_budget)]
    return digest(
        {
            "task": conditions.card.name,
            "tasks": sharing,
            "methods": {entrant.method.name: [entrant.plugin.source, dict(entrant.params), dict(entrant.recipe)] for entrant in entrants},
            "budget": [*amounts, request.seeds, request.total],
            "conditions": [conditions.platform, len(conditions.machine.devices), conditions.precision, conditions.data, conditions.protocol],
            # not its path: its weights are in the keys of what is trained with it
            "teacher": [request.teacher_checkpoint is not None, request.charge_teacher],
        }
    )
