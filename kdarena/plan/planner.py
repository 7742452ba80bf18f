"""Seeds, budget and trials for a task: as the user stated them, or fitted to a total time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kdarena.errors import UserError
from kdarena.plan.allocation import DEFAULT_TOTAL, RUN_OVERHEAD, Allocation, Costs, least_amount, run_seconds, to_unit
from kdarena.plan.amounts import Amount
from kdarena.plan.levels import DEFAULT_SEEDS, Level, levels
from kdarena.plan.request import Request
from kdarena.plan.tuning import TRIAL_SHARE, TUNING_SHARE
from kdarena.tracks.card import TaskCard


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
    level: Level | None = None,
    before: Allocation | None = None,
) -> Allocation:
    """Seeds, budget and trials for one task: as stated with ``--budget``, else fitted to the time that is left.

    Args:
        costs: in seconds; read only where there is no stated budget.
        student_s: seconds of a step of the plain student; None where time was not measured.
        seconds_left: for all runs of the task.
        overhead: seconds that a run takes in addition to its training.
        level: seeds and whether there are trials, where there is no stated budget; None: what fits.
        before: what the same command got with a smaller total time, whose runs are recorded.

    Raises:
        UserError: the budgets are of two units.
    """
    if request.budget is not None:
        return _as_stated(request, request.budget, student_s, steps_per_epoch)
    assert student_s is not None
    time = _Time(request, card, costs, student_s, steps_per_epoch, max(0.0, seconds_left) * workers, overhead)
    return time.allocate(level or time.level(), before)


def _as_stated(request: Request, budget: Amount, student_s: float | None, steps_per_epoch: int) -> Allocation:
    amount, unit = to_unit(budget, student_s, steps_per_epoch)
    tuning = TUNING_SHARE * amount if request.tunes else 0.0
    if request.tunes and request.tuning_budget is not None:
        tuning, tuning_unit = to_unit(request.tuning_budget, student_s, steps_per_epoch)
        if tuning_unit != unit:
            raise UserError("--tuning-budget has another unit than --budget; a comparison needs one unit")
    short = 0 < tuning * (1 + 1e-9) < 2 * TRIAL_SHARE * amount
    notes = (f"no trials: the tuning budget is less than two of them, each {TRIAL_SHARE:g} of a run's",) if short else ()
    return Allocation(amount, unit, request.seeds or DEFAULT_SEEDS, tuning, str(budget), notes)


@dataclass(frozen=True)
class _Time:
    """The time that is left for a task, to which its runs are fitted: seeds and trials first, then the budget of a run up to the task's own full schedule.

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

    def allocate(self, level: Level, before: Allocation | None) -> Allocation:
        """What the time allows on a level, with a note of everything that was cut."""
        amount, epochs, cut = self._budget(level)
        if before is not None and before.unit == "s" and before.amount >= self.least * (1 - 1e-9) and self._keeps(before, amount):
            level, cut = self._best_at(before, level), ()
            amount, stated = before.amount, before.stated
        else:
            stated = str(Amount(epochs, "se"))
        notes = (*self._level_notes(level), *cut)
        return Allocation(amount, "s", level.seeds, TUNING_SHARE * amount if level.tuned else 0.0, stated, notes)

    def level(self) -> Level:
        """The most wanted level for which the least budget leaves time, or the least wanted."""
        wanted = levels(self.request)
        return next((level for level in wanted if self._seconds(self.least, level) <= self.device_seconds), wanted[-1])

    @property
    def least(self) -> float:
        """What the most expensive method needs, in seconds."""
        return least_amount(self.costs)

    @property
    def full(self) -> float:
        """The task's own schedule, in seconds, or what the most expensive method needs."""
        return max(self.card.recipe.student_epochs * self.steps_per_epoch * self.student_s, self.least)

    def _budget(self, level: Level) -> tuple[float, float, tuple[str, ...]]:
        """The budget of a run on a level, in seconds and in student-epochs, and notes on it."""
        fitted, notes = self._at_least(self._longest(level))
        epoch_s = self.steps_per_epoch * self.student_s
        # rounding must not take the most expensive method's last step
        epochs = _rounded(fitted / epoch_s) if _rounded(fitted / epoch_s) * epoch_s >= self.least else fitted / epoch_s
        seconds, _ = to_unit(Amount(epochs, "se"), self.student_s, self.steps_per_epoch)
        cut = (f"the budget of a run was cut from {self.card.recipe.student_epochs:g} student-epochs to {epochs:g}",) if fitted < self.full else ()
        return seconds, epochs, (*notes, *cut)

    def _longest(self, level: Level) -> float:
        """The longest budget of a run, up to the full schedule, with which everything fits, in seconds; below the least where not even that fits."""
        low, high = 0.0, self.full
        if self._seconds(high, level) <= self.device_seconds:
            return high
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if self._seconds(middle, level) <= self.device_seconds else (low, middle)
        return low

    def _seconds(self, amount: float, level: Level) -> float:
        return run_seconds(self.costs, amount, level, self.overhead, both=self.request.both, ladder=self.request.ladder)

    def _at_least(self, fitted: float) -> tuple[float, tuple[str, ...]]:
        """The budget of a run: what fits, but no less than the least, since a board that takes longer is worth more than none."""
        if fitted >= self.least * (1 - 1e-9):
            return max(fitted, self.least), ()
        asked = f"the default of {DEFAULT_TOTAL / 60:g} minutes" if self.request.total is None else "what is left of --total"
        return self.least, (f"{asked} is too short for {len(self.costs)} methods here: they get their least budget and take longer",)

    def _keeps(self, before: Allocation, amount: float) -> bool:
        """Whether the budget of a run stays what it was with a smaller total time, so that its runs hold.

        It does where it is the full schedule or would be the same, and where seeds or trials are missing, which come first. Where nothing is
        missing but length, more time makes longer runs, and all of them are new.
        """
        complete = (before.seeds, before.tuning > 0) == (levels(self.request)[0].seeds, levels(self.request)[0].tuned)
        return not complete or before.amount >= amount * (1 - 1e-9)

    def _best_at(self, before: Allocation, level: Level) -> Level:
        """The most wanted level, up to the one given, that fits with the budget that a run had before; no less than it had."""
        wanted = levels(self.request)
        had = Level(before.seeds, before.tuning > 0)
        allowed = wanted[wanted.index(level) :] if level in wanted else (level,)
        best = next((one for one in allowed if self._seconds(before.amount, one) <= self.device_seconds), had)
        return best if best.budgets > had.budgets else had

    def _level_notes(self, level: Level) -> tuple[str, ...]:
        """What gave way."""
        wanted = levels(self.request)[0]
        fewer = f"{level.seeds} seeds instead of {wanted.seeds}: the time holds no more of the most expensive method's least budget"
        untuned = "no trials: they would leave less than the most expensive method's least budget for a run; raise --total to tune"
        return (*((fewer,) if level.seeds < wanted.seeds else ()), *((untuned,) if wanted.tuned and not level.tuned else ()))


def _rounded(epochs: float) -> float:
    return float(f"{epochs:.2g}") if epochs < 100 else float(f"{epochs:.3g}")
