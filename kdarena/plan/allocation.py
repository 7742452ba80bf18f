"""What a command gets on a task: seeds, the budget of a run, trials; and what that takes."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from kdarena.errors import BudgetTooSmall
from kdarena.method.student import Student
from kdarena.plan.amounts import Amount
from kdarena.plan.budget import commit, minimum_amount
from kdarena.plan.curve import SHARE as CURVE_SHARE
from kdarena.plan.entrants import Entrant
from kdarena.plan.ladder import Ladder
from kdarena.plan.levels import Level
from kdarena.plan.spec import PhaseCost, Unit
from kdarena.plan.tuning import TUNING_SHARE, Scheme, scheme_of, trial_amount

LADDER = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""Shares of the budget that the student alone also gets, so that a method is read against the student at its number of updates. A rung may have
fewer steps than a method's least number: of the student's fifty there are three on the lowest."""
NO_LADDER = Ladder()
DEFAULT_TOTAL = 600.0
"""Seconds."""
RUN_OVERHEAD = 0.12
"""Seconds that a run takes at least in addition to its training, as planned with."""
TRIAL_OVERHEAD = 0.5
"""What a trial takes of it."""

Costs = Mapping[str, Sequence[PhaseCost]]
"""What a step of each method costs in each of its phases, all in one unit."""


@dataclass(frozen=True)
class Allocation:
    """What the methods get on one task.

    Attributes:
        amount: the budget of a final run, in the unit of the specs.
        unit: s, flop or epochs.
        seeds: of the final runs; 0 where the task was left out.
        tuning: each method's tuning budget in the same unit, 0 for none.
        stated: the budget as the user or the planner stated it.
        notes: what was decided and what was cut, for the user.
    """

    amount: float
    unit: Unit
    seeds: int
    tuning: float
    stated: str
    notes: tuple[str, ...] = ()

    @property
    def left_out(self) -> bool:
        """Whether the task was left out, as the note says."""
        return self.seeds == 0


def leave_out(reason: str) -> Allocation:
    """Of a task for which there is no time."""
    return Allocation(0.0, "s", 0, 0.0, "", (reason,))


def to_unit(amount: Amount, student_s: float | None, steps_per_epoch: int) -> tuple[float, Unit]:
    """A stated budget in the unit of the specs; a student-epoch is the time of the plain student's steps of one epoch."""
    if amount.currency == "se":
        assert student_s is not None
        return amount.value * steps_per_epoch * student_s, "s"
    return amount.value, amount.currency


def least_amount(costs: Costs) -> float:
    """The least budget of the most expensive method."""
    return max((minimum_amount(cost) for cost in costs.values()), default=0.0)


def run_seconds(costs: Costs, amount: float, level: Level, overhead: float, *, both: bool = False, ladder: Ladder = NO_LADDER) -> float:
    """Device seconds of a task's runs, controls and trials.

    Args:
        costs: in seconds.
        amount: the budget of a final run, in seconds.
        overhead: seconds that a run takes in addition to its training; a trial, which is scored on validation alone, takes half of it.
        both: whether the defaults and the tuned setting both get final runs.
        ladder: what is trained after the final runs.
    """
    budgets, jobs = final_runs(len(costs), level, both=both, ladder=ladder)
    trials = [(scheme.trials, trial_amount(cost, amount)) for cost in costs.values() if (scheme := _scheme(cost, amount, level))]
    curves = CURVE_SHARE * len(costs) * level.seeds * (2 if both and level.tuned else 1)
    return amount * (budgets + curves) + overhead * jobs + sum(count * (each + TRIAL_OVERHEAD * overhead) for count, each in trials)


def _scheme(cost: Sequence[PhaseCost], amount: float, level: Level) -> Scheme | None:
    return scheme_of(cost, amount, TUNING_SHARE * amount) if level.tuned else None


def final_runs(methods: int, level: Level, *, both: bool = False, ladder: Ladder = NO_LADDER) -> tuple[float, int]:
    """What a task's final runs, controls and ladder are, without trials: budgets of a final run together, and jobs."""
    settings = level.seeds * (2 if both and level.tuned else 1)
    further, rungs = ladder.of_a_seed(methods)
    return settings * (methods + further) + level.seeds * sum(LADDER), settings * (methods + rungs) + level.seeds * len(LADDER)


def check_budget(entrants: Sequence[Entrant], costs: Costs, allocation: Allocation, named: bool) -> dict[str, str]:
    """Methods whose budget is too small, each with the reason.

    Raises:
        BudgetTooSmall: it is the student, or the user named the method.
    """
    refused = {}
    for entrant in entrants:
        name = entrant.method.name
        if name not in costs:
            continue
        try:
            commit(costs[name], allocation.amount, unit=allocation.unit)
        except BudgetTooSmall as error:
            if named or name == Student.method.name:
                raise BudgetTooSmall(f"{name}: {error}") from None
            refused[name] = str(error)
    return refused


def enough_for_all(costs: Costs, refused: Collection[str], allocation: Allocation) -> Allocation:
    """The allocation, and where its budget is too small for some methods a note of the budget that is enough for all."""
    needs = [need for name in refused if (need := minimum_amount(costs[name])) > allocation.amount]
    if not needs:
        return allocation
    least = max(needs)
    # rounded up, so that it can be typed as it is printed
    digits = 3 - math.ceil(math.log10(least))
    typed = math.ceil(least * 10.0**digits) / 10.0**digits
    note = f"the budget is too small for {len(refused)} methods; --budget {typed:.3g}{allocation.unit} is enough for all"
    return replace(allocation, notes=(*allocation.notes, note))
