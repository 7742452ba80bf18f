"""What a command asks for: its identity on a task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from kdarena.plan.amounts import Amount
from kdarena.plan.conditions import Conditions
from kdarena.plan.entrants import Entrant
from kdarena.plan.request import Request
from kdarena.plan.spec import digest


def request_digest(request: Request, conditions: Conditions, entrants: Sequence[Entrant]) -> str:
    """Names a command on a task, so that the same command gets what was allocated to it before."""
    # a task's part of the time depends on the other tasks; a stated budget does not
    sharing = sorted(request.tasks) if request.budget is None else []
    tuning = request.tuning_budget if request.tunes else Amount(0.0, "s")
    amounts = [amount and [amount.value, amount.currency] for amount in (request.budget, tuning, request.teacher_budget)]
    return digest(
        {
            "task": conditions.card.name,
            "tasks": sharing,
            "methods": {entrant.method.name: [entrant.plugin.source, dict(entrant.params), dict(entrant.recipe)] for entrant in entrants},
            "budget": [*amounts, request.seeds, request.total, request.both],
            "scope": request.scope or "all",
            "conditions": [
                *(conditions.platform, len(conditions.machine.devices), conditions.precision, conditions.data, conditions.protocol, conditions.capture),
                *(["compiled"] if conditions.compiled else []),
            ],
            "views": [conditions.views, request.teacher_outputs],
            # not its path: its weights are in the keys of what is trained with it
            "teacher": [request.gives_teacher(conditions.card), request.charge_teacher],
        }
    )


def family_digest(request: Request, conditions: Conditions, entrants: Sequence[Entrant]) -> str:
    """Names a command on a task whatever its total time, so that a longer one finds what a shorter one did."""
    return request_digest(replace(request, total=math.inf), conditions, entrants)
