"""Final runs in a limited time: they are done seed by seed, and where the time runs out whole seeds are left out."""

from __future__ import annotations

import time
from collections.abc import Callable

from kdarena.arena.scheduler import Job
from kdarena.plan.spec import RunSpec


class SeedClock:
    """Says before each final run whether it may start. The first seed always may; a further one only where all its runs are expected to end in time.

    So every method has the same seeds, and no run is cut off.

    Attributes:
        done: seeds that were begun, in their order.
        left_out: seeds that were not.
    """

    def __init__(self, end: float, clock: Callable[[], float] = time.monotonic):
        """
        Args:
            end: when the last final run should have ended, by ``clock``.
            clock: gives seconds.
        """
        self._end, self._clock = end, clock
        self._started = 0.0
        self.done: list[int] = []
        self.left_out: list[int] = []

    def admits(self, job: Job) -> bool:
        """Whether a job may start; to be asked of the jobs in the order of their seeds."""
        spec = job.spec
        if not isinstance(spec, RunSpec) or spec.purpose not in ("final", "control") or spec.seed in self.done:
            return True
        if spec.seed in self.left_out:
            return False
        now = self._clock()
        self._started = self._started if self.done else now
        a_seed = (now - self._started) / max(1, len(self.done))
        in_time = not self.left_out and now + a_seed <= self._end
        (self.done if in_time or not self.done else self.left_out).append(spec.seed)
        return spec.seed in self.done

    def report(self) -> str:
        """What was left out, for the user."""
        seeds = f"{len(self.done)} seed{'s' if len(self.done) > 1 else ''}"
        return f"the time ran out: every method has {seeds}, {len(self.left_out)} less than planned; the same command does the others"
