"""Measuring a cost profile: what a step of each phase costs, on a throw-away build, before anything is committed.

Time is measured as a ratio: blocks of the method's steps alternate with blocks of the plain student's (method, student,
student, method), one synchronisation a block, so that a machine's drift cancels. Single steps in turn would understate
expensive methods, because each would find its caches as the other left them. Operations are counted on one step of each phase.

Cost profiles of one command may be under way on all devices at once, one on each (a core is a CPU's device), as its runs will be.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

from kdarena.execute.hooks import Hooks
from kdarena.execute.train import begin_phase
from kdarena.execute.updates import BoundUpdate, Stepper
from kdarena.method.contract import Phase
from kdarena.method.run import Run
from kdarena.method.student import Student
from kdarena.plan.budget import TARGET_ERROR
from kdarena.plan.cost import TIME_LIMIT, PhaseProfile
from kdarena.tracks.measure import count_operations, synchronize
from kdarena.tracks.values import Batch

BLOCK_STEPS = 50
BLOCK_SECONDS = 0.25
FEWEST_STEPS = 3
"""Of a block, where a step is so expensive that the time limit leaves no more."""
DROPPED_STEPS = 3
"""First steps of a block, which are taken but not timed: they find the other's caches; one of a short block."""
TOLERABLE_ERROR, EXTENSION = 0.03, 4
"""A measurement whose error is above this at its limit goes on for up to so many times as long."""


def profile(
    new_run: Callable[[], tuple[Hooks, Run]],
    new_student_run: Callable[[], tuple[Hooks, Run]],
    *,
    timed: bool,
    once: bool = False,
    limit: float = TIME_LIMIT,
    alive: Callable[[], None] = lambda: None,
) -> tuple[list[PhaseProfile], float | None]:
    """Enter each phase in turn on a throw-away build and measure one step of it.

    Args:
        new_run, new_student_run: make the method's and the plain student's run, not yet built, with their hooks.
        once: measure one group of blocks only (an audit).
        limit: seconds after which a phase's measurement ends.
        alive: called between two blocks.

    Returns:
        a measure of each phase, and the seconds of one step of the plain student (None where time was not measured).
    """
    hooks, run = new_run()
    phases = hooks.build(run)
    augmented = run.batches("augmented")
    reference = _student_block(*new_student_run()) if timed else None
    measures: list[PhaseProfile] = []
    student_times: list[float] = []
    previous: dict[str, BoundUpdate] = {}
    for phase in phases:
        block = _Block(hooks, run, phase, previous, augmented)
        flops = block.count_operations()
        alive()
        relative = error = None
        if reference is not None:
            relative, error, student_s = _ratio(block, reference, limit, once, alive)
            student_times.append(student_s)
            if run.method is Student.method and run.trains is None:
                relative, error = 1.0, 0.0  # the plain student compared with itself: the unit, by definition
        epochs = 0.0 if phase.data == "none" else 1 / run.steps_per_epoch
        measures.append(PhaseProfile(phase.name, phase.steps, phase.share, epochs, flops, relative, error))
        previous = block.previous()
    run.check_teachers()
    return measures, (sum(student_times) / len(student_times) if student_times else None)


def _student_block(hooks: Hooks, run: Run) -> _Block:
    phases = hooks.build(run)
    return _Block(hooks, run, phases[0], {}, run.batches("augmented"))


class _Block:
    """Blocks of steps of one phase. A phase with fixed steps is begun anew when they are used up."""

    def __init__(self, hooks: Hooks, run: Run, phase: Phase, previous: dict[str, BoundUpdate], augmented: Iterator[Batch]):
        self.hooks, self.run, self.phase, self._previous, self._augmented = hooks, run, phase, previous, augmented
        self.steps = BLOCK_STEPS
        self._stepper: Stepper
        self._batches: Iterator[Batch | None]
        self._begin()

    def _begin(self) -> None:
        self._stepper, self._batches = begin_phase(self.hooks, self.run, self.phase, self._previous, self._augmented)

    def previous(self) -> dict[str, BoundUpdate]:
        return {bound.name: bound for bound in self._stepper.bound}

    def _take(self) -> None:
        if self.phase.steps is not None and self._stepper.count >= self.phase.steps:
            self._begin()
        with self.hooks.guard("loss" if self.phase.process is None else "schedule"):
            # progress 0.5: an annealed weight is at work, a ramp neither off nor at its end
            self._stepper.take(next(self._batches), 0.5, 0.5)
        self._stepper.terms.clear()

    def count_operations(self) -> int:
        """Floating-point operations of one step, the second one (the first may build caches)."""
        self._take()
        return count_operations(self._take)

    def seconds(self) -> float:
        """Mean seconds of one step over a block."""
        device = self.run.task.device
        for _ in range(DROPPED_STEPS if self.steps > DROPPED_STEPS else 1):
            self._take()
        synchronize(device)
        start = time.perf_counter()
        for _ in range(self.steps):
            self._take()
        synchronize(device)
        return (time.perf_counter() - start) / self.steps


def _ratio(block: _Block, reference: _Block, limit: float, once: bool, alive: Callable[[], None]) -> tuple[float, float, float]:
    """Step cost relative to the student's, its relative standard error, and the student's seconds a step."""
    started = time.perf_counter()
    for measured in (block, reference):
        measured.steps = FEWEST_STEPS
        step = measured.seconds()
        alive()
        # at least 50 steps and 0.25 s, unless the eight blocks of two groups would exceed the limit
        measured.steps = max(FEWEST_STEPS, min(max(BLOCK_STEPS, math.ceil(BLOCK_SECONDS / step)), math.ceil(limit / 8 / step)))
    own: list[float] = []
    student: list[float] = []
    while True:
        for measured, times in ((block, own), (reference, student), (reference, student), (block, own)):
            times.append(measured.seconds())
            alive()
        relative, error = _ratio_of_means(own, student)
        # two groups at least, however long they take: from one there is no error to report
        passed = time.perf_counter() - started
        target = TARGET_ERROR if passed < limit else TOLERABLE_ERROR
        if once or (len(own) >= 4 and (error < target or passed > min(EXTENSION * limit, TIME_LIMIT))):
            return relative, error, sum(student) / len(student)


def _ratio_of_means(own: list[float], student: list[float]) -> tuple[float, float]:
    """Ratio of block means; its relative standard error from the ratios of the ABBA groups (two blocks each)."""
    groups = [sum(own[i : i + 2]) / sum(student[i : i + 2]) for i in range(0, len(own), 2)]
    relative = sum(own) / sum(student)
    if len(groups) < 2:
        return relative, math.inf
    mean = sum(groups) / len(groups)
    variance = sum((ratio - mean) ** 2 for ratio in groups) / (len(groups) - 1)
    return relative, math.sqrt(variance / len(groups)) / mean
