"""Budgets: amounts in four currencies, and how a method's phases share one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kdarena.errors import BudgetTooSmall, UserError
from kdarena.plan.spec import PhaseCost

MINIMUM_STEPS = 50
"""A method that would get fewer steps is refused: it would be judged on nothing."""

TARGET_ERROR = 0.01
"""Standard error of a step cost, of the cost, that a profile goes on for."""

UNDERSPEND = 0.03
"""Part of a budget that may stay unspent before a run is flagged as ``underspent``."""

Currency = Literal["s", "se", "flop", "epochs"]


@dataclass(frozen=True)
class Amount:
    """A budget as the user states it: seconds (``s``), student-epochs (``se``), floating-point operations or epochs."""

    value: float
    currency: Currency

    def __str__(self) -> str:
        if self.currency == "s":
            return f"{self.value / 60:g}m" if self.value >= 60 else f"{self.value:g}s"
        return f"{self.value:g}{self.currency}"


_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_AMOUNT = re.compile(r"([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*(se|s|m|h|d|flop|flops|epochs|epoch)", re.IGNORECASE)


def parse_amount(text: str, option: str = "--budget") -> Amount:
    """Read ``10m``, ``45s``, ``60se``, ``3e15flop`` or ``60epochs``.

    Raises:
        UserError: the text is none of these, or not positive.
    """
    matched = _AMOUNT.fullmatch(text.strip())
    if not matched:
        raise UserError(f"{option} {text!r}: expected a number and a unit, as 10m, 45s, 2h, 60se (student-epochs), 3e15flop or 60epochs")
    value, unit = float(matched[1]), matched[2].lower()
    if not 0 < value < float("inf"):
        raise UserError(f"{option} {text!r}: has to be more than zero")
    if unit in _SECONDS:
        return Amount(value * _SECONDS[unit], "s")
    return Amount(value, {"se": "se", "flop": "flop", "flops": "flop", "epochs": "epochs", "epoch": "epochs"}[unit])  # type: ignore[arg-type]


def parse_duration(text: str, option: str) -> float:
    """Read a duration in seconds: ``10m``, ``8h``; raises ``UserError`` for other units."""
    amount = parse_amount(text, option)
    if amount.currency != "s":
        raise UserError(f"{option} {text!r}: expected a duration, as 10m or 8h")
    return amount.value


def commit(costs: Sequence[PhaseCost], amount: float) -> tuple[int, ...]:
    """Steps of each phase: fixed ones first, then what is left by shares, rounded in the last phase that takes a share.

    Args:
        costs: of the phases, in the unit of ``amount``.
        amount: of the budget, or of what is left of it.

    Raises:
        BudgetTooSmall: the fixed phases alone exceed the amount, or fewer than 50 steps come out.
    """
    free = [cost.phase for cost in costs if cost.steps is None and cost.cost <= 0]
    if free:
        raise BudgetTooSmall(
            f"the steps of phase {free[0]!r} cost nothing in this unit, so that a share of the budget buys any number of them; take another unit"
        )
    steps = share_out(costs, amount)
    total = sum(steps)
    needed = minimum_amount(costs)
    if total < MINIMUM_STEPS or amount < fixed_amount(costs):
        raise BudgetTooSmall(
            f"the budget allows {max(total, 0)} steps, {MINIMUM_STEPS} are the least "
            f"(it needs {needed:.4g} for them, the budget is {amount:.4g}); raise --budget or leave the method out"
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


def minimum_amount(costs: Sequence[PhaseCost]) -> float:
    """The least budget: the fixed phases, and enough steps of the dearest phase for the minimum number in total."""
    fixed_steps = sum(cost.steps for cost in costs if cost.steps is not None)
    dearest = max((cost.cost for cost in costs if cost.steps is None), default=0.0)
    takers = sum(1 for cost in costs if cost.steps is None)
    return fixed_amount(costs) + max(MINIMUM_STEPS - fixed_steps, takers) * dearest


def spend(costs: Sequence[PhaseCost], steps: Sequence[int]) -> float:
    """What so many steps of each phase cost, in the unit of the costs."""
    return sum(cost.cost * count for cost, count in zip(costs, steps, strict=True))
