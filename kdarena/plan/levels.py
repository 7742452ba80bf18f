"""What gives way where time is short: seeds, then trials, then whole tasks; the budget of a run went before them, down to the least."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kdarena.plan.request import Request
from kdarena.plan.tuning import TUNING_SHARE

DEFAULT_SEEDS = 5
FEWEST_SEEDS = 3
"""With two seeds the interval of a mean is three times as wide as with three."""


@dataclass(frozen=True)
class Level:
    """What the methods of a task get in addition to the budget of a run.

    Attributes:
        seeds: of the final runs.
        tuned: whether there are trials.
    """

    seeds: int
    tuned: bool

    @property
    def budgets(self) -> float:
        """What a method takes, in budgets of a run."""
        return self.seeds + TUNING_SHARE * self.tuned


def levels(request: Request) -> tuple[Level, ...]:
    """What a command may get, the most wanted first: five seeds and trials, fewer seeds, no trials. Each takes less than those before it.

    Seeds go before trials, since a board of untuned methods has another order, and fewer seeds only wider intervals.
    """
    seeds = range(DEFAULT_SEEDS, FEWEST_SEEDS - 1, -1) if request.seeds is None else (request.seeds,)
    wanted: list[Level] = []
    for tuned in (True, False) if request.tunes else (False,):
        for count in seeds:
            level = Level(count, tuned)
            if not wanted or level.budgets < wanted[-1].budgets:
                wanted.append(level)
    return tuple(wanted)


def fitting(left: float, needs: Sequence[Callable[[Level], float]], wanted: Sequence[Level]) -> tuple[list[int], Level]:
    """The tasks that a time holds, by their positions, and the level of all of them.

    Where the time is too short for all tasks on the least level, those that need most are left out until it holds the others; the last task stays.

    Args:
        left: seconds.
        needs: what each task needs at least on a level, in seconds.
        wanted: the levels, the most wanted first.
    """
    kept = sorted(range(len(needs)), key=lambda task: needs[task](wanted[-1]))
    while len(kept) > 1 and sum(needs[task](wanted[-1]) for task in kept) > left:
        kept.pop()
    level = next((level for level in wanted if sum(needs[task](level) for task in kept) <= left), wanted[-1])
    return sorted(kept), level
