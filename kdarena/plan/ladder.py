"""Further budgets than that of a final run, asked for by ``--ladder``: what accuracy costs is read from whole schedules, each of its own length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kdarena.plan.budget import fixed_amount, share_out, spend
from kdarena.plan.spec import PhaseCost

LEADERS = 5
"""Methods of the leading group, the best first, that are trained along a ladder where no methods are named."""


@dataclass(frozen=True)
class Ladder:
    """What is trained in addition to the final runs.

    Attributes:
        factors: multiples of the budget of a final run, in ascending order and without 1.
        most: methods that are trained so at most; None: all that run.
    """

    factors: tuple[float, ...] = ()
    most: int | None = None

    def of_a_seed(self, methods: int) -> tuple[float, int]:
        """Budgets of a final run that the runs of one seed take, and their number.

        Args:
            methods: that run.
        """
        count = methods if self.most is None else min(methods, self.most)
        return count * sum(self.factors), count * len(self.factors)


def ladder_of(factors: Sequence[float]) -> Ladder:
    """The ladder of some multiples of the budget, of all methods: a final run is its rung of 1."""
    return Ladder(tuple(sorted({factor for factor in factors if factor != 1.0})))


def setting_of(factor: float) -> str:
    """The setting of a rung's runs in the record."""
    return f"ladder:{factor:g}"


def rung_amount(costs: Sequence[PhaseCost], amount: float) -> float | None:
    """The budget of a rung: of whole steps where it can be, or a short rung would leave more of it unspent than a run may; None where it holds not even one
    step of each phase.

    Args:
        amount: in the unit of the costs.
    """
    steps = share_out(costs, amount)
    if amount < fixed_amount(costs) or not all(steps):
        return None
    whole = spend(costs, steps)
    return whole if share_out(costs, whole) == steps else amount
