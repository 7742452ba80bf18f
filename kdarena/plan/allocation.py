"""What a command gets: seeds, the budget of a run, trials; as stated, or fitted to a total time."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from kdarena.errors import BudgetTooSmall, UserError
from kdarena.method.student import Student
from kdarena.plan.budget import Amount, commit, minimum_amount
from kdarena.plan.cost import TIME_LIMIT
from kdarena.plan.entrants import Entrant
from kdarena.plan.request import Request
from kdarena.plan.spec import PhaseCost, Unit
from kdarena.tracks.card import TaskCard

LADDER = (0.25, 0.5)
"""Shares of the budget that the student alone also gets, so that a method is read against the student at its number of updates."""
TRIAL_SHARE = 0.5
"""A trial's budget as a share of a final run's."""
DEFAULT_SEEDS = 5
DEFAULT_TOTAL = 600.0
TUNING_SHARE = 1.5
"""Default tuning budget in budgets of a final run: three trials."""
PROFILE_SHARE = 0.04
"""Of the total time, for the profiles; with what building networks takes, and the audits, it is about a tenth."""
SHORTEST_PROFILE = 0.25
"""Seconds."""
RUN_OVERHEAD = 0.12
"""Seconds that a run costs beside its training at least, as planned with."""


@dataclass(frozen=True)
class Allocation:
    """What the planner chose for one task.

    Attributes:
        amount: the budget of a final run, in the unit of the specs.
        unit: s, flop or epochs.
        seeds: of the finals.
        tuning: each method's tuning budget in the same unit, 0 for none.
        stated: the budget as the user or the planner stated it.
        notes: what was chosen and what was cut, for the user.
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


def profile_limit(request: Request, profiles: int, workers: int) -> float:
    """Seconds that a profile may take, so that a command's profiles, on all its tasks, fit into its total time.

    With ``--budget`` the user states what a run costs and not how long all may take, and each is as careful as it can be.
    """
    if request.budget is not None:
        return TIME_LIMIT
    share = PROFILE_SHARE * (request.total or DEFAULT_TOTAL) * workers / max(1, profiles)
    return float(f"{min(max(share, SHORTEST_PROFILE), TIME_LIMIT):.2g}")


def least_seconds(costs: Mapping[str, Sequence[PhaseCost]], seeds: int, overhead: float) -> float:
    """Device seconds of a task's runs where each gets what the dearest method needs, without trials."""
    budgets, jobs = _workload(len(costs), seeds, tuned=False)
    return _least(costs) * budgets + overhead * jobs


def _least(costs: Mapping[str, Sequence[PhaseCost]]) -> float:
    """The least budget of the dearest method."""
    return max((minimum_amount(cost) for cost in costs.values()), default=0.0)


def _workload(methods: int, seeds: int, *, tuned: bool) -> tuple[float, int]:
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
    costs: Mapping[str, Sequence[PhaseCost]],
    student_s: float | None,
    steps_per_epoch: int,
    seconds_left: float,
    workers: int,
    overhead: float = RUN_OVERHEAD,
) -> Allocation:
    """Seeds, budget and trials for one task.

    With ``--budget`` all is as stated. Without, the job is fitted to the time that is left: five seeds first, then the
    budget of a run up to the task's own full schedule, then trials, which cost a second set of finals.

    Args:
        overhead: seconds that a run costs beside its training.
    """
    seeds = request.seeds or DEFAULT_SEEDS
    if request.budget is not None:
        amount, unit = to_unit(request.budget, student_s, steps_per_epoch)
        tuning = TUNING_SHARE * amount
        if request.tuning_budget is not None:
            tuning, tuning_unit = to_unit(request.tuning_budget, student_s, steps_per_epoch)
            if tuning_unit != unit and tuning:
                raise UserError("--tuning-budget has another unit than --budget; a comparison needs one unit")
        if request.protocol == "published":
            tuning = 0.0  # there is no validation part to tune on
        notes = (f"no trials: the tuning budget is less than one, {TRIAL_SHARE:g} of a run's",) if 0 < tuning < TRIAL_SHARE * amount else ()
        return Allocation(amount, unit, seeds, tuning, str(request.budget), notes)
    assert student_s is not None
    return _fit(request, card, costs, student_s, steps_per_epoch, seconds_left, workers, seeds, overhead)


def _fit(
    request: Request,
    card: TaskCard,
    costs: Mapping[str, Sequence[PhaseCost]],
    student_s: float,
    steps_per_epoch: int,
    seconds_left: float,
    workers: int,
    seeds: int,
    overhead: float,
) -> Allocation:
    notes = []
    epoch_s = steps_per_epoch * student_s
    methods = len(costs)
    least = _least(costs)
    full = max(card.recipe.student_epochs * epoch_s, least)
    device_seconds = max(0.0, seconds_left) * workers

    def budget_for(seeds: int, tuned: bool) -> float:
        """The budget of a run for which everything fits."""
        budgets, jobs = _workload(methods, seeds, tuned=tuned)
        return (device_seconds - jobs * overhead) / budgets

    tuned = request.tuning_budget is None or request.tuning_budget.value > 0
    tuned = tuned and request.protocol != "published"
    if tuned and budget_for(seeds, True) < full:
        tuned = False
        notes.append("no trials: tuning would leave less than the task's full schedule for a run; raise --total to tune")
    if request.seeds is None:
        while seeds > 2 and budget_for(seeds, tuned) < least:
            seeds -= 1
        if seeds < DEFAULT_SEEDS:
            notes.append(f"{seeds} seeds instead of {DEFAULT_SEEDS}: the dearest method needs its least budget")
    fitted = budget_for(seeds, tuned)
    if fitted < least and request.total is None:
        # nobody asked for ten minutes: on a slow machine a board that takes longer is worth more than none
        notes.append(f"the default of {DEFAULT_TOTAL / 60:g} minutes is too short for {methods} methods here: they get their least budget and take longer")
        fitted = least
    if fitted < least:
        raise UserError(
            f"--total is too short for {methods} methods with {seeds} seeds on {card.name}: it leaves {max(fitted, 0):.2g} s a run, {least:.2g} s are the least; raise --total or name fewer --plugins"
        )
    epochs = min(fitted, full) / epoch_s
    rounded = float(f"{epochs:.2g}") if epochs < 100 else float(f"{epochs:.3g}")
    # rounding must not take the dearest method's last step
    epochs = rounded if rounded * epoch_s >= least else epochs
    amount = Amount(epochs, "se")
    seconds, unit = to_unit(amount, student_s, steps_per_epoch)
    if fitted < full:
        notes.append(f"the budget of a run was cut from {card.recipe.student_epochs:g} student-epochs to {epochs:g}")
    return Allocation(seconds, unit, seeds, TUNING_SHARE * seconds if tuned else 0.0, str(amount), tuple(notes))


def check_budget(entrants: Sequence[Entrant], costs: Mapping[str, Sequence[PhaseCost]], choice: Allocation, named: bool) -> dict[str, str]:
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
            commit(costs[name], choice.amount)
        except BudgetTooSmall as error:
            if named or name == Student.method.name:
                raise BudgetTooSmall(f"{name}: {error}") from None
            refused[name] = str(error)
    return refused


def enough_for_all(costs: Mapping[str, Sequence[PhaseCost]], refused: Collection[str], choice: Allocation) -> Allocation:
    """The choice, and where its budget is too small for some methods a note of the one that is enough for all."""
    needs = [need for name in refused if (need := minimum_amount(costs[name])) > choice.amount]
    if not needs:
        return choice
    least = max(needs)
    # rounded up, so that it can be typed as it stands
    digits = 3 - math.ceil(math.log10(least))
    typed = math.ceil(least * 10.0**digits) / 10.0**digits
    note = f"the budget is too small for {len(refused)} methods; --budget {typed:.3g}{choice.unit} is enough for all"
    return replace(choice, notes=(*choice.notes, note))
