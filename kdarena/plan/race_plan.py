"""What a race gets on a task: settings of each method, the budget of a final run, seeds; fitted to a total time or as stated; and what that takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kdarena.plan.allocation import RUN_OVERHEAD, TRIAL_OVERHEAD, Allocation, Costs, least_amount, to_unit
from kdarena.plan.amounts import Amount
from kdarena.plan.budget import MINIMUM_STEPS, minimum_amount
from kdarena.plan.estimate import END_S, MOST_EXPENSIVE, START_S, Work, set_up_seconds
from kdarena.plan.levels import DEFAULT_SEEDS, FEWEST_SEEDS
from kdarena.plan.racing import FINALISTS, SEEDS, SHARES, Rung, rungs
from kdarena.plan.request import CONTROLS
from kdarena.plan.spec import PhaseCost, Unit

SETTINGS = 4
"""Settings of each method, the defaults among them, where nothing is short."""
MORE_SETTINGS = (16, 8)
"""The same where the time holds the task's full schedule."""


@dataclass(frozen=True)
class RaceLevel:
    """What a race has in addition to the budget of a run: settings of each method, and seeds of the final runs."""

    settings: int
    seeds: int


@dataclass(frozen=True)
class RacePlan:
    """What a race gets on a task.

    Attributes:
        amount: the budget of a final run, in the unit of the specs.
        unit: s, flop or epochs.
        stated: the budget as the user or the planner stated it.
        settings: of each method.
        seeds: of the final runs.
        notes: what was cut, for the user.
    """

    amount: float
    unit: Unit
    stated: str
    settings: int
    seeds: int
    notes: tuple[str, ...] = ()

    @property
    def allocation(self) -> Allocation:
        """What its final runs are planned by; the tuning budget is what a method takes in the first rung."""
        return Allocation(self.amount, self.unit, self.seeds, self.settings * SEEDS[0] * SHARES[0] * self.amount, self.stated)


def racing_amount(costs: Sequence[PhaseCost], amount: float, share: float) -> float:
    """The budget of a run in a rung, in the unit of the costs: a part of a final run's, but no less than the method needs.

    Args:
        amount: of a final run.
    """
    return max(share * amount, min(minimum_amount(costs), amount))


def least_survivors(methods: int) -> int:
    """Contenders that go on after a rung at least: as many as there are places in the final, where there are so many methods."""
    return min(methods, FINALISTS + len(CONTROLS))


def rungs_of(methods: int, settings: int) -> tuple[Rung, ...]:
    """The rungs of a race of so many methods with so many settings each."""
    return rungs(methods * settings, least_survivors(methods))


def rung_seconds(costs: Costs, amount: float, rung: Rung, contenders: int, overhead: float) -> float:
    """Device seconds of a rung.

    Args:
        costs: in seconds, by method.
        amount: of a final run.
        contenders: that run; it is not asked of which methods.
        overhead: seconds that a final run takes in addition to its training; a shorter one, which is scored on validation alone, takes half of it.
    """
    each = sum(racing_amount(cost, amount, rung.share) for cost in costs.values()) / max(1, len(costs))
    return contenders * len(rung.seeds) * (each + TRIAL_OVERHEAD * overhead)


def final_seconds(amount: float, methods: int, seeds: int, overhead: float) -> float:
    """Device seconds of so many methods' final runs."""
    return methods * seeds * (amount + overhead)


def race_seconds(costs: Costs, amount: float, level: RaceLevel, overhead: float) -> float:
    """Device seconds of a whole race, at most; arguments as above."""
    racing = sum(rung_seconds(costs, amount, rung, rung.entering, overhead) for rung in rungs_of(len(costs), level.settings))
    return racing + final_seconds(amount, least_survivors(len(costs)), level.seeds, overhead)


def shortest_race_seconds(costs: Costs, amount: float, level: RaceLevel, overhead: float) -> float:
    """Device seconds of a race that ends as early as it can: after one seed of its first rung, with final runs of one method and the controls."""
    first = rungs_of(len(costs), level.settings)[0]
    racing = rung_seconds(costs, amount, first, first.entering, overhead) / len(first.seeds)
    return racing + final_seconds(amount, min(len(costs), 1 + len(CONTROLS)), min(level.seeds, FEWEST_SEEDS), overhead)


def race_levels(settings: int | None, seeds: int | None) -> tuple[RaceLevel, ...]:
    """What a race may have where time is short, the most wanted first: settings give way before seeds.

    Args:
        settings, seeds: as the user stated them, or None.
    """
    counts = [settings] if settings is not None else list(range(SETTINGS, 1, -1))
    wanted = [seeds] if seeds is not None else list(range(DEFAULT_SEEDS, FEWEST_SEEDS - 1, -1))
    return (*(RaceLevel(count, wanted[0]) for count in counts), *(RaceLevel(counts[-1], count) for count in wanted[1:]))


def as_stated(budget: Amount, settings: int | None, seeds: int | None, student_s: float | None, steps_per_epoch: int) -> RacePlan:
    """The plan of a stated budget."""
    amount, unit = to_unit(budget, student_s, steps_per_epoch)
    return RacePlan(amount, unit, str(budget), settings or SETTINGS, seeds or DEFAULT_SEEDS)


def fitted(
    costs: Costs, seconds: float, overhead: float, full_epochs: float, epoch_s: float, levels: Sequence[RaceLevel], more: Sequence[int] = MORE_SETTINGS
) -> RacePlan:
    """The plan that a time holds: the most wanted level with the least budget of the most expensive method, then the longest budget of a run, up to
    the task's full schedule, then more settings.

    Args:
        costs: in seconds, by method.
        seconds: device seconds for the whole race; where they hold not even the last level, that is the plan all the same.
        overhead: as of :func:`rung_seconds`.
        full_epochs: the task's full schedule, in student-epochs.
        epoch_s: seconds of a student-epoch.
        levels: the most wanted first.
        more: numbers of settings, the most wanted first, that the race may have instead where there is time for them in addition to the full schedule.
    """
    least = least_amount(costs)
    full = max(full_epochs * epoch_s, least)
    level = next((level for level in levels if race_seconds(costs, least, level, overhead) <= seconds), levels[-1])
    amount = _longest(lambda amount: race_seconds(costs, amount, level, overhead) <= seconds, least, full)
    if amount >= full and level == levels[0]:
        further = (RaceLevel(count, level.seeds) for count in more)
        level = next((richer for richer in further if race_seconds(costs, full, richer, overhead) <= seconds), level)
    notes = [f"the budget of a run was cut from {full_epochs:g} student-epochs to {amount / epoch_s:.3g}"] if amount < full else []
    if level.settings < levels[0].settings:
        notes.append(f"{level.settings} settings of each method instead of {levels[0].settings}: the time holds no more")
    if level.seeds < levels[0].seeds:
        notes.append(f"{level.seeds} fresh seeds instead of {levels[0].seeds}: the time holds no more")
    return RacePlan(amount, "s", str(Amount(float(f"{amount / epoch_s:.3g}"), "se")), level.settings, level.seeds, tuple(notes))


def _longest(fits: Callable[[float], bool], low: float, high: float) -> float:
    """The largest amount that fits, to a thousandth; the lower end where nothing does."""
    if fits(high):
        return high
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def needed_seconds(works: Sequence[Work], level: RaceLevel, workers: int, elapsed: float = START_S) -> float:
    """The shortest total time, in seconds, in which races on some tasks can be done, by what is known before methods are profiled.

    Args:
        level: the last that the user allows.
        elapsed: seconds that have passed.
    """
    measuring = sum(work.measuring_seconds(workers, timed=True) for work in works)
    return elapsed + END_S + set_up_seconds(works, workers) + measuring + sum(_least_seconds(work, level, workers) for work in works)


def stated_race_seconds(works: Sequence[Work], budget: Amount, level: RaceLevel, workers: int) -> float:
    """Seconds that races with a stated budget take, about, by what is known before methods are profiled."""
    timed = budget.currency in ("s", "se")
    measuring = sum(work.measuring_seconds(workers, timed=timed) for work in works)
    races = sum(_seconds(work, work.pace.seconds(budget), level, workers) for work in works)
    return START_S + END_S + set_up_seconds(works, workers) + measuring + races


def _least_seconds(work: Work, level: RaceLevel, workers: int) -> float:
    return _seconds(work, MINIMUM_STEPS * MOST_EXPENSIVE * work.pace.student_s, level, workers)


def _seconds(work: Work, amount: float, level: RaceLevel, workers: int) -> float:
    cost = (PhaseCost("train", None, 1.0, work.pace.student_s, None, None, 0),)
    return race_seconds(dict.fromkeys(map(str, range(work.methods)), cost), amount, level, RUN_OVERHEAD) / workers
