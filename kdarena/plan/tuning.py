"""How a method is tuned: how many trials its tuning budget holds, and how they are used.

Stage one trains candidates once each, all on one trial seed: the defaults, and others. Stage two trains the best of the others and the defaults on
fresh trial seeds; the better mean on validation gets the final runs, of equal ones the defaults. Final runs decide nothing, so no method has a second try.

The defaults meet the best of the others in stage two also where they were the best in stage one. By simulation (``tests/benchmarks/test_tuning.py``)
ending the search there gains 2 to 5 % less, chooses worse than the defaults in 6 to 14 % of cases instead of 8 to 17 %, and would tune methods with unequal
time. Without a second stage, all trials on one seed, the choice is worse in 16 to 33 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kdarena.plan.budget import MINIMUM_STEPS, minimum_amount
from kdarena.plan.spec import PhaseCost

TRIAL_SHARE = 1 / 8
"""A trial's budget as a share of a final run's."""
TUNING_SHARE = 1.5
"""Default tuning budget of a method in budgets of a final run: twelve trials."""
FRESH_SEEDS = 3
"""Trial seeds of stage two, where there are trials enough."""
GUIDED = 20
"""Candidates of stage one from which on each is chosen by the scores of those before it; with fewer, that is no better than spreading them."""


@dataclass(frozen=True)
class Scheme:
    """How a method's trials are used.

    Attributes:
        candidates: of stage one, the defaults among them. Where there is one other, no score chose it, and all seeds count in the comparison.
        seeds: of stage two, on each of which the best of the others and the defaults are trained.
    """

    candidates: int
    seeds: int

    @property
    def trials(self) -> int:
        """All together."""
        return self.candidates + 2 * self.seeds

    @property
    def guided(self) -> bool:
        """Whether the candidates of stage one follow from the scores of those before them."""
        return self.candidates >= GUIDED


def scheme(trials: int) -> Scheme | None:
    """How so many trials are used, or None where they are too few for the defaults and one other setting.

    Half of them, at most three seeds, are for stage two. With two or three trials there is no second stage: the candidates' own scores decide.
    """
    if trials < 2:
        return None
    seeds = 0 if trials < 4 else min(FRESH_SEEDS, trials // 4)
    return Scheme(trials - 2 * seeds, seeds)


def trial_amount(costs: Sequence[PhaseCost], amount: float) -> float:
    """The budget of a trial, in the unit of the costs: a part of a final run's, but no less than the method needs.

    Args:
        amount: of a final run.
    """
    return max(TRIAL_SHARE * amount, min(minimum_amount(costs), amount))


def scheme_of(costs: Sequence[PhaseCost], amount: float, tuning: float) -> Scheme | None:
    """How a method's tuning budget is used, or None where it is too small.

    Args:
        costs: of the method's phases.
        amount: of a final run.
        tuning: of its trials together, in the same unit.
    """
    return scheme(int(tuning * (1 + 1e-9) / trial_amount(costs, amount))) if tuning > 0 else None


def why_untuned(costs: Sequence[PhaseCost], amount: float, tuning: float) -> str | None:
    """Why a method keeps its defaults though there is a tuning budget; None where it is tuned, or none of the methods is."""
    if tuning <= 0 or scheme_of(costs, amount, tuning) is not None:
        return None
    short = minimum_amount(costs) > TRIAL_SHARE * amount
    trial = f"{MINIMUM_STEPS} steps" if short else f"{TRIAL_SHARE:g} of a run's budget"
    return f"not tuned: {tuning / amount:.3g} budgets hold no two trials of {trial}"
