"""How a method's phases share a budget."""

from __future__ import annotations

from collections.abc import Sequence

from kdarena.errors import BudgetTooSmall
from kdarena.plan.spec import PhaseCost

MINIMUM_STEPS = 50
"""A method that would get fewer steps is refused: it would be judged on nothing."""


TOO_SMALL = "raise --budget or leave the method out"
"""What to do about a method that is refused."""

TEACHER_TOO_SMALL = "raise --teacher-budget"
"""What to do about a teacher that is: its steps are not bought from a run's budget."""

UNDERSPEND = 0.03
"""Part of a budget that may stay unspent before a run is flagged as ``underspent``."""


def commit(costs: Sequence[PhaseCost], amount: float, least: int = MINIMUM_STEPS, *, unit: str = "", advice: str = TOO_SMALL) -> tuple[int, ...]:
    """Steps of each phase: fixed ones first, then what is left by shares, rounded in the last phase that takes a share.

    Args:
        costs: of the phases, in the unit of ``amount``.
        amount: of the budget, or of what is left of it.
        least: the least number of steps; a control, which is not judged, may have fewer than a method.
        unit: of the amount, for the message.
        advice: what to do where it is too small.

    Raises:
        BudgetTooSmall: the fixed phases alone exceed the amount, or fewer than ``least`` steps come out.
    """
    free = [cost.phase for cost in costs if cost.steps is None and cost.cost <= 0]
    if free:
        raise BudgetTooSmall(
            f"the steps of phase {free[0]!r} cost nothing in this unit, so that a share of the budget buys any number of them; take another unit"
        )
    steps = share_out(costs, amount)
    total = sum(steps)
    needed = minimum_amount(costs, least)

    def in_unit(value: float) -> str:
        return f"{value:.4g} {unit}".strip()

    if total < least or amount < fixed_amount(costs):
        raise BudgetTooSmall(
            f"the budget allows {max(total, 0)} steps, {least} are the least (it needs {in_unit(needed)} for them, the budget is {in_unit(amount)}); {advice}"
        )
    return steps


def share_out(costs: Sequence[PhaseCost], amount: float) -> tuple[int, ...]:
    """As :func:`commit`, for what is left in the middle of a run: without a minimum, never below zero."""
    rest = max(0.0, amount - fixed_amount(costs))
    shares = sum(cost.share for cost in costs if cost.steps is None)
    takers = [position for position, cost in enumerate(costs) if cost.steps is None]
    steps = [cost.steps or 0 for cost in costs]
    spent = 0.0
    for position in takers[:-1]:
        cost = costs[position]
        steps[position] = int(rest * cost.share / shares / cost.cost)
        spent += steps[position] * cost.cost
    if takers:
        steps[takers[-1]] = max(0, round((rest - spent) / costs[takers[-1]].cost))
    return tuple(steps)


def fixed_amount(costs: Sequence[PhaseCost]) -> float:
    """What the phases with fixed steps cost."""
    return sum(cost.steps * cost.cost for cost in costs if cost.steps is not None)


def minimum_amount(costs: Sequence[PhaseCost], least: int = MINIMUM_STEPS) -> float:
    """The least budget: the fixed phases, and enough steps of the most expensive phase for ``least`` in total."""
    fixed_steps = sum(cost.steps for cost in costs if cost.steps is not None)
    most_expensive = max((cost.cost for cost in costs if cost.steps is None), default=0.0)
    takers = sum(1 for cost in costs if cost.steps is None)
    return fixed_amount(costs) + max(least - fixed_steps, takers) * most_expensive


def spend(costs: Sequence[PhaseCost], steps: Sequence[int]) -> float:
    """What so many steps of each phase cost, in the unit of the costs."""
    return sum(cost.cost * count for cost, count in zip(costs, steps, strict=True))
