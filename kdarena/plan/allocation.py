"""What a command gets on a task: seeds, the budget of a run, trials; as stated, or fitted to a total time."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from kdarena.errors import BudgetTooSmall, UserError
from kdarena.method.student import Student
from kdarena.plan.amounts import Amount
from kdarena.plan.budget import commit, minimum_amount
from kdarena.plan.entrants import Entrant
from kdarena.plan.request import Request
from kdarena.plan.spec import PhaseCost, Unit
from kdarena.tracks.card import TaskCard

LADDER = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""Shares of the budget that the student alone also gets, so that a method is read against the student at its number of updates. A rung may have
fewer steps than a method's least number: of the student's fifty there are three on the lowest."""
TRIAL_SHARE = 0.5
"""A trial's budget as a share of a final run's."""
DEFAULT_SEEDS = 5
FEWEST_SEEDS = 2
"""Where time is short."""
DEFAULT_TOTAL = 600.0
"""Seconds."""
TUNING_SHARE = 1.5
"""Default tuning budget in budgets of a final run: three trials."""
RUN_OVERHEAD = 0.12
"""Seconds that a run takes at least in addition to its training, as planned with."""

Costs = Mapping[str, Sequence[PhaseCost]]
"""What a step of each method costs in each of its phases, all in one unit."""


@dataclass(frozen=True)
class Allocation:
    """What the methods get on one task.

    Attributes:
        amount: the budget of a final run, in the unit of the specs.
        unit: s, flop or epochs.
        seeds: of the final runs.
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


def to_unit(amount: Amount, student_s: float | None, steps_per_epoch: int) -> tuple[float, Unit]:
    """A stated budget in the unit of the specs; a student-epoch is the time of the plain student's steps of one epoch."""
    if amount.currency == "se":
        assert student_s is not None
        return amount.value * steps_per_epoch * student_s, "s"
    return amount.value, amount.currency


def least_seconds(costs: Costs, seeds: int, overhead: float) -> float:
    """Device seconds of a task's runs where each gets what the most expensive method needs, without trials."""
    budgets, jobs = workload(len(costs), seeds, tuned=False)
    return _least_amount(costs) * budgets + overhead * jobs


def _least_amount(costs: Costs) -> float:
    """The least budget of the most expensive method."""
    return max((minimum_amount(cost) for cost in costs.values()), default=0.0)


def workload(methods: int, seeds: int, *, tuned: bool) -> tuple[float, int]:
    """What a task's runs, controls and trials are: budgets of a final run together, and jobs."""
    runs = methods * seeds * (2 if tuned else 1)
    trials = methods * round(TUNING_SHARE / TRIAL_SHARE) if tuned else 0
    return runs + seeds * sum(LADDER) + trials * TRIAL_SHARE, runs + seeds * len(LADDER) + trials


def share_of_time(left: float, needs: Sequence[float], methods: Sequence[int]) -> float:
    """Seconds for the first of the tasks that wait: what it needs, and of what nobody needs a part by its number of methods.

    Where time is too short for all, each has the same part of its need.

    Args:
        left: seconds.
        needs: what each task needs at least, in seconds.
        methods: of each task.
    """
    spare = left - sum(needs)
    return needs[0] + spare * methods[0] / sum(methods) if spare >= 0 else left * needs[0] / sum(needs)


def allocate(
    request: Request,
    card: TaskCard,
    costs: Costs,
    student_s: float | None,
    steps_per_epoch: int,
    seconds_left: float,
    workers: int,
    overhead: float = RUN_OVERHEAD,
) -> Allocation:
    """Seeds, budget and trials for one task: as stated with ``--budget``, else fitted to the time that is left.

    Args:
        costs: in seconds; read only where there is no stated budget.
        student_s: seconds of a step of the plain student; None where time was not measured.
        seconds_left: for all runs of the task.
        overhead: seconds that a run takes in addition to its training.

    Raises:
        UserError: the budgets are of two units.
    """
    if request.budget is not None:
        return _as_stated(request, request.budget, student_s, steps_per_epoch)
    assert student_s is not None
    return _Time(request, card, costs, student_s, steps_per_epoch, max(0.0, seconds_left) * workers, overhead).allocate()


def _as_stated(request: Request, budget: Amount, student_s: float | None, steps_per_epoch: int) -> Allocation:
    amount, unit = to_unit(budget, student_s, steps_per_epoch)
    tuning = TUNING_SHARE * amount
    if request.tuning_budget is not None:
        tuning, tuning_unit = to_unit(request.tuning_budget, student_s, steps_per_epoch)
        if tuning_unit != unit and tuning:
            raise UserError("--tuning-budget has another unit than --budget; a comparison needs one unit")
    if request.protocol == "published":
        tuning = 0.0  # there is no validation part to tune on
    notes = (f"no trials: the tuning budget is less than one, {TRIAL_SHARE:g} of a run's",) if 0 < tuning < TRIAL_SHARE * amount else ()
    return Allocation(amount, unit, request.seeds or DEFAULT_SEEDS, tuning, str(budget), notes)


@dataclass(frozen=True)
class _Time:
    """The time that is left for a task, to which its runs are fitted: five seeds first, then the budget of a run up to the
    task's own full schedule, then trials, which cost a second set of final runs.

    Attributes:
        costs: in seconds.
        student_s: seconds of a step of the plain student.
        device_seconds: for all runs of the task.
        overhead: seconds that a run takes in addition to its training.
    """

    request: Request
    card: TaskCard
    costs: Costs
    student_s: float
    steps_per_epoch: int
    device_seconds: float
    overhead: float

    def allocate(self) -> Allocation:
        """What the time allows, with a note of everything that was cut."""
        least, epoch_s = _least_amount(self.costs), self.steps_per_epoch * self.student_s
        full = max(self.card.recipe.student_epochs * epoch_s, least)
        tuned, tuning_notes = self._tuned(full)
        seeds, seed_notes = self._seeds(least, tuned)
        fitted, length_notes = self._at_least(least, self._budget_of_a_run(seeds, tuned))
        epochs = min(fitted, full) / epoch_s
        # rounding must not take the most expensive method's last step
        epochs = _rounded(epochs) if _rounded(epochs) * epoch_s >= least else epochs
        amount = Amount(epochs, "se")
        seconds, unit = to_unit(amount, self.student_s, self.steps_per_epoch)
        cut = (f"the budget of a run was cut from {self.card.recipe.student_epochs:g} student-epochs to {epochs:g}",) if fitted < full else ()
        notes = (*tuning_notes, *seed_notes, *length_notes, *cut)
        return Allocation(seconds, unit, seeds, TUNING_SHARE * seconds if tuned else 0.0, str(amount), notes)

    def _budget_of_a_run(self, seeds: int, tuned: bool) -> float:
        """The budget of a run with which everything fits, in seconds."""
        budgets, jobs = workload(len(self.costs), seeds, tuned=tuned)
        return (self.device_seconds - jobs * self.overhead) / budgets

    def _tuned(self, full: float) -> tuple[bool, tuple[str, ...]]:
        """Whether there is time for trials after the task's full schedule."""
        wanted = self.request.tuning_budget is None or self.request.tuning_budget.value > 0
        wanted = wanted and self.request.protocol != "published"
        if wanted and self._budget_of_a_run(self.request.seeds or DEFAULT_SEEDS, True) < full:
            return False, ("no trials: tuning would leave less than the task's full schedule for a run; raise --total to tune",)
        return wanted, ()

    def _seeds(self, least: float, tuned: bool) -> tuple[int, tuple[str, ...]]:
        """As many seeds as stated, or as leave every method its least budget."""
        if self.request.seeds is not None:
            return self.request.seeds, ()
        seeds = DEFAULT_SEEDS
        while seeds > FEWEST_SEEDS and self._budget_of_a_run(seeds, tuned) < least:
            seeds -= 1
        return seeds, (f"{seeds} seeds instead of {DEFAULT_SEEDS}: the most expensive method needs its least budget",) if seeds < DEFAULT_SEEDS else ()

    def _at_least(self, least: float, fitted: float) -> tuple[float, tuple[str, ...]]:
        """The budget of a run: what fits, but no less than the least, since a board that takes longer is worth more than none."""
        if fitted >= least:
            return fitted, ()
        asked = f"the default of {DEFAULT_TOTAL / 60:g} minutes" if self.request.total is None else "what is left of --total"
        return least, (f"{asked} is too short for {len(self.costs)} methods here: they get their least budget and take longer",)


def _rounded(epochs: float) -> float:
    return float(f"{epochs:.2g}") if epochs < 100 else float(f"{epochs:.3g}")


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
            commit(costs[name], allocation.amount)
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
