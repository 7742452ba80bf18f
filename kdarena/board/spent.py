"""What steps cost in the runs themselves, against the price that the runs were committed by.

A cost profile gives the price before anything is trained. The runs show what was paid: device seconds a step over those of the plain student's run of
the same seed. Load and drift of the machine are in both, since runs are done seed by seed, and no method can tell its runs from themselves.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdarena.board.variants import Variant, average
from kdarena.plan.board import Board
from kdarena.plan.spec import FILLED_S, FILLING
from kdarena.record.recorded import RecordedRun

MARKED = 0.05
"""A row whose steps cost so much more or less than their price, beyond the error, says so."""
UNDERPRICED = 0.15
"""A row whose steps cost so much more than their price, beyond the error, has no rank."""
LARGEST_ERROR = 0.1
"""The error, of the cost, at most as it counts for a row's rank: a method whose steps cost more now and then can't hide that in it."""


@dataclass(frozen=True)
class CostSpent:
    """Cost of a mean step, in steps of the plain student, as the runs spent it.

    Attributes:
        mean: over the seeds of both.
        error: standard error of the mean over seeds; None for one seed.
    """

    mean: float
    error: float | None


UNIT = CostSpent(1.0, 0.0)
"""Of the plain student itself."""


def spent(board: Board, variant: Variant, student: Sequence[Variant]) -> dict[str, Any]:
    """The columns of what a row's runs spent of their budget and what their steps cost: in device time where the budget is one and they did not share the
    device, else as committed."""
    timed = board.unit == "s"
    # what --charge-teacher took from the budget was spent on the teachers
    parts = [
        (_seconds(run, charged=True) if timed and not _shared(run) else run.result.committed) + board.amount - run.spec.budget.amount
        for run in variant.finished
    ]
    cost = None if not timed else UNIT if variant in student else cost_spent(variant, student)
    return {
        "budget_spent": average([part / board.amount for part in parts]),
        "cost_spent": cost and cost.mean,
        "cost_spent_error": cost and cost.error,
    }


def cost_spent(variant: Variant, student: Sequence[Variant]) -> CostSpent | None:
    """What a step of a variant's runs took over what one of the plain student's runs of the same seeds did; None where they share no seed.

    Args:
        student: the variants of the plain student, of which the default one counts where it has the seed.
    """
    own, alone = _seconds_a_step([variant]), _seconds_a_step(sorted(student, key=lambda one: one.tuned))
    ratios = [seconds / alone[seed] for seed, seconds in own.items() if seed in alone]
    if not ratios:
        return None
    return CostSpent(statistics.fmean(ratios), statistics.stdev(ratios) / math.sqrt(len(ratios)) if len(ratios) > 1 else None)


def _seconds_a_step(variants: Iterable[Variant]) -> dict[int, float]:
    """Device seconds of a mean step by seed, of the runs that had their device for themselves."""
    seconds: dict[int, float] = {}
    for variant in variants:
        for run in variant.finished:
            if run.result.steps and run.result.spent_s > 0 and not _shared(run):
                seconds.setdefault(run.spec.seed, _seconds(run, charged=False) / run.result.steps)
    return seconds


def _shared(run: RecordedRun) -> bool:
    """Whether a run shared its device with others, so that what its steps took depends on them too. On a CPU each has its turn."""
    return run.spec.device != "cpu" and run.result.system.get("together", 1) > 1


def _seconds(run: RecordedRun, *, charged: bool) -> float:
    """Device seconds of the steps of a run's method.

    Args:
        charged: with what filling in its teachers' outputs was charged with, which one run did for all that share them.
    """
    price = sum(cost.cost * (cost.steps or 0) for cost in run.spec.costs if cost.phase == FILLING) if charged else 0.0
    return run.result.spent_s - run.result.system.get(FILLED_S, 0.0) + price


def price_note(row: Mapping[str, Any]) -> str | None:
    """That a row's steps cost more or less than their price, in one line; None where they agree, or where time was not measured."""
    off = _off(row)
    if off is None or abs(off) - _error(row) <= MARKED:
        return None
    return (
        f"a step cost {row['cost_spent']:.2f} student steps, {100 * abs(off):.0f} % {'above' if off > 0 else 'below'} its price of {row['step_cost']:.2f}: "
        f"it had {'more' if off > 0 else 'less'} time than the budget"
    )


def underpriced(row: Mapping[str, Any]) -> bool:
    """Whether a row's runs cost so much more than their price that they can't be compared."""
    off = _off(row)
    return off is not None and off - _error(row, LARGEST_ERROR) > UNDERPRICED


def _off(row: Mapping[str, Any]) -> float | None:
    """Part by which a row's steps cost more than their price."""
    if row["cost_spent"] is None or not row["step_cost"]:
        return None
    return float(row["cost_spent"] / row["step_cost"] - 1)


def _error(row: Mapping[str, Any], largest: float = math.inf) -> float:
    """Standard error of that part: of the price, and of the runs over seeds, of which one seed shows nothing."""
    spread = (row["cost_spent_error"] or 0.0) / row["cost_spent"]
    return min(math.hypot(spread, row["step_cost_error"] or 0.0), largest)
