"""Whether a run looks up what its teachers make of each view, or calls them in every step: by prices alone, so that the plan says it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kdarena.plan.budget import share_out
from kdarena.plan.spec import FILLING, Parts, PhaseCost


@dataclass(frozen=True)
class StoredCosts:
    """What a method's steps cost where they look up outputs of its teachers.

    Attributes:
        costs: of the phase that fills them in, and of the method's own.
        parts: what is looked up of each teacher.
    """

    costs: tuple[PhaseCost, ...]
    parts: Parts


def chosen(live: tuple[PhaseCost, ...], stored: StoredCosts | None, amount: float) -> tuple[tuple[PhaseCost, ...], Parts]:
    """The costs that a run of a budget is committed by, and what is looked up of its teachers' outputs.

    Outputs are looked up where the budget, less what filling them in costs, buys more steps of the method; where it buys as many, as it does in epochs,
    where the run takes fewer operations.

    Args:
        live: what the steps cost where the teachers are called.
        stored: None: nothing can be looked up.
        amount: of the budget, in the unit of the costs.
    """
    if stored is None:
        return live, ()
    called, looked_up = share_out(live, amount), share_out(stored.costs, amount)
    fewer, more = sum(called), sum(count for cost, count in zip(stored.costs, looked_up, strict=True) if cost.phase != FILLING)
    pays = more > fewer or (more == fewer and _operations(stored.costs, looked_up) < _operations(live, called))
    return (stored.costs, stored.parts) if pays else (live, ())


def _operations(costs: Sequence[PhaseCost], steps: Sequence[int]) -> int:
    return sum(cost.flops * count for cost, count in zip(costs, steps, strict=True))
