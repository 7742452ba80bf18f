"""Final runs in a limited time: they are done seed by seed, and where the time runs out whole seeds are left out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeGuard

from kdarena.arena.scheduler import Job
from kdarena.engines.engine import Spec
from kdarena.plan.levels import FEWEST_SEEDS
from kdarena.plan.spec import RunSpec


class SeedClock:
    """Says before each final run whether it may start.

    The first seeds always may, as many as a ranked board has at least, and the first that is not recorded; a further one only where all its runs are expected to end in time. So
    every method has the same seeds, and no run is cut off.

    Attributes:
        done: seeds of which runs were begun, in their order.
        left_out: seeds of which runs were not.
    """

    def __init__(self, end: float, clock: Callable[[], float] = time.monotonic, least: int = FEWEST_SEEDS):
        """
        Args:
            end: when the last final run should have ended, by ``clock``.
            clock: gives seconds.
            least: so many seeds are never left out.
        """
        self._end, self._clock, self._least = end, clock, least
        self._started = 0.0
        self._begun = 0  # runs
        self._to_run: dict[int, set[str]] = {}  # keys of the runs that are not recorded, by every seed that was asked for
        self.done: list[int] = []
        self.left_out: list[int] = []

    def asked(self, job: Job, recalled: bool) -> None:
        """A job was asked for, and is recalled or is to be run."""
        spec = job.spec
        if _is_final(spec):
            runs = self._to_run.setdefault(spec.seed, set())
            if not recalled:
                runs.add(spec.key)

    def admits(self, job: Job) -> bool:
        """Whether a job may start; to be asked of the jobs in the order of their seeds, after all were asked for."""
        spec = job.spec
        if not _is_final(spec):
            return True
        if spec.seed not in (*self.done, *self.left_out):
            (self.done if self._in_time(spec.seed) else self.left_out).append(spec.seed)
        admitted = spec.seed in self.done
        self._begun += admitted
        return admitted

    def _in_time(self, seed: int) -> bool:
        now = self._clock()
        if not self.done:
            self._started = now
        if not self.done or seed < self._least:
            return not self.left_out
        a_run = (now - self._started) / max(1, self._begun)
        return not self.left_out and now + a_run * len(self._to_run.get(seed, ())) <= self._end

    def report(self) -> str:
        """What was left out, for the user."""
        count = len({*self._to_run, *self.done}.difference(self.left_out))
        seeds = f"{count} seed{'s' if count > 1 else ''}"
        return f"the time ran out: every method has {seeds}, {len(self.left_out)} less than planned; the same command does the others"


def _is_final(spec: Spec) -> TypeGuard[RunSpec]:
    return isinstance(spec, RunSpec) and spec.purpose in ("final", "control")
