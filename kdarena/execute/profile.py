"""Measuring a cost profile: what a step of each phase costs, on a throw-away build, before anything is committed.

Time is device time, measured as a ratio: short blocks of the method's steps alternate with blocks of the plain student's, in groups of four (method,
student, student, method), so that a steady drift of the machine cancels within each group. How many groups a phase gets depends on the kind of device
(:mod:`kdarena.plan.profile_rule`), and on some kinds a profile has several parts (:mod:`kdarena.plan.profile_parts`); the cost is the median over all
groups, which one disturbed group does not move. Single steps in turn would understate expensive methods, because each would find its caches as the other
left them. Operations are counted on one step of each phase.

Each step is at a random progress: a weight that follows a ramp may change what a step costs, and no method can tell a profile from a run by it.

Cost profiles of one command may be under way on all devices at once, one on each (a core is a CPU's device), as its runs will be.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from random import Random

from kdarena.collector import uncollected
from kdarena.execute.hooks import Hooks
from kdarena.execute.train import begin_phase
from kdarena.execute.updates import BoundUpdate, Stepper
from kdarena.method.contract import Phase
from kdarena.method.run import Run
from kdarena.method.student import Student
from kdarena.plan.cost import PhaseProfile
from kdarena.plan.profile_parts import cost_of
from kdarena.plan.profile_rule import ProfileRule, rule_of
from kdarena.plan.spec import FILLING
from kdarena.tracks.measure import Stopwatch, count_operations
from kdarena.tracks.values import Batch

DROPPED_STEPS = 3
"""First steps of a block, which are taken but not timed: they find the other's caches; one of a short block."""
MOST_STEPS = 1000
"""Of a block, where a step is so short that a clock hardly sees it."""
SHORTEST = 1e-9
"""Seconds of a block at least: a coarse clock may not have moved, and ratios are taken."""


def profile(
    new_run: Callable[[], tuple[Hooks, Run]],
    new_student_run: Callable[[], tuple[Hooks, Run]],
    *,
    timed: bool,
    random: Random | None = None,
    rule: ProfileRule | None = None,
    alive: Callable[[], None] = lambda: None,
    filling: tuple[Callable[[], None], int] | None = None,
    look: Callable[[bool], None] = lambda looking: None,
) -> tuple[list[PhaseProfile], float | None]:
    """Enter each phase in turn on a throw-away build and measure one step of it: a part of a cost profile.

    Args:
        new_run, new_student_run: make the method's and the plain student's run, not yet built, with their hooks.
        random: draws the progress of each step.
        rule: how long each phase is measured; by default that of the task's kind of device.
        alive: called between two blocks.
        filling: a step that fills in outputs of teachers, and how many there are; measured as a phase before the others.
        look: called with whether the method's next steps may be looked at, which takes time: those that are not timed.

    Returns:
        a measure of each phase, and the seconds of one step of the plain student, the median of its blocks (None where time was not measured).
    """
    random = random or Random(0)
    hooks, run = new_run()
    phases = hooks.build(run)
    augmented = run.batches("augmented")
    rule = rule or rule_of(run.task.device.type)
    reference = _student_block(*new_student_run(), random) if timed else None
    measures: list[PhaseProfile] = []
    student_times: list[float] = []
    previous: dict[str, BoundUpdate] = {}

    def measured(block: _Block, epochs: float) -> PhaseProfile:
        flops = block.count_operations()
        alive()
        relative = error = None
        ratios: tuple[float, ...] = ()
        if reference is not None:
            ratios, times = _measure(block, reference, rule, alive)
            student_times.extend(times)
            relative, error = cost_of([ratios])
            if run.method is Student.method and run.trains is None:
                relative, error, ratios = 1.0, 0.0, ()  # the plain student compared with itself: the unit, by definition
        return PhaseProfile(block.phase.name, block.phase.steps, block.phase.share, epochs, flops, relative, error, ratios)

    if filling is not None:
        take, steps = filling
        measures.append(replace(measured(_FillingBlock(run, take), 0.0), steps=steps))
    for position, phase in enumerate(phases):
        look(True)
        block = _Block(hooks, run, phase, previous, augmented, _progress(phases, position, random), look)
        measures.append(measured(block, 0.0 if phase.data == "none" else 1 / run.steps_per_epoch))
        previous = block.previous()
    run.check_teachers()
    return measures, (statistics.median(student_times) if student_times else None)


def _student_block(hooks: Hooks, run: Run, random: Random) -> _Block:
    phases = hooks.build(run)
    return _Block(hooks, run, phases[0], {}, run.batches("augmented"), _progress(phases, 0, random))


def _progress(phases: Sequence[Phase], position: int, random: Random) -> Iterator[tuple[float, float]]:
    """Progress of the phase at a position and of the run, drawn anew for each step, as they may be together in a run."""
    shares = [phase.share if phase.steps is None else 0.0 for phase in phases]
    before, whole = sum(shares[:position]), sum(shares)
    while True:
        progress = random.random()
        yield progress, (before + progress * shares[position]) / whole


class _Block:
    """Blocks of steps of one phase. A phase with fixed steps is begun anew when they are used up.

    Attributes:
        steps: of a block.
        ready: whether it has settled and knows its number of steps.
    """

    def __init__(
        self,
        hooks: Hooks,
        run: Run,
        phase: Phase,
        previous: dict[str, BoundUpdate],
        augmented: Iterator[Batch],
        progress: Iterator[tuple[float, float]],
        look: Callable[[bool], None] = lambda looking: None,
    ):
        self.hooks, self.run, self.phase, self._previous, self._augmented, self._progress = hooks, run, phase, previous, augmented, progress
        self._look = look
        self.steps, self.ready = 1, False
        self._stopwatch = Stopwatch(run.task.device)
        self._stepper: Stepper
        self._batches: Iterator[Batch | None]
        self._begin()

    def _begin(self) -> None:
        self._stepper, self._batches = begin_phase(self.hooks, self.run, self.phase, self._previous, self._augmented)

    def previous(self) -> dict[str, BoundUpdate]:
        return {bound.name: bound for bound in self._stepper.bound}

    @property
    def _used_up(self) -> bool:
        return self.phase.steps is not None and self._stepper.count >= self.phase.steps

    def _take(self) -> None:
        self._stepper.take(next(self._batches), *next(self._progress))
        self._stepper.terms.clear()

    def _guarded(self) -> AbstractContextManager[None]:
        """Around several steps, as in a run: what a guard takes is no step's."""
        return self.hooks.guard("loss" if self.phase.process is None else "process")

    def count_operations(self) -> int:
        """Floating-point operations of one step, the second one (the first may build caches)."""
        with self._guarded():
            self._take()
        if self._used_up:
            self._begin()
        with self._guarded():
            return count_operations(self._take)

    def settle(self, steps: int) -> None:
        """Take steps before any is timed, in which a device may capture them; none where the phase would have to begin anew for it."""
        with self._guarded():
            for _ in range(steps):
                if not self._used_up:
                    self._take()

    def take_for(self, seconds: float) -> None:
        """Set the number of steps to what takes so long, but to no more than a phase with fixed steps has: to begin it may take longer than its steps."""
        most = MOST_STEPS if self.phase.steps is None else self.phase.steps
        self.steps = max(1, min(round(seconds / self.seconds()), most))

    def seconds(self) -> float:
        """Mean device seconds of one step over a block; what begins a phase is no step, and no part of it is what Python's collector takes."""
        with self._guarded(), uncollected():
            return self._seconds()

    def _seconds(self) -> float:
        dropped = DROPPED_STEPS if self.steps > DROPPED_STEPS else 1
        seconds = 0.0
        self._look(True)
        for number in range(dropped + self.steps):
            if self._used_up:
                seconds += self._stopwatch.stop() if number > dropped else 0.0
                self._begin()
                if number > dropped:
                    self._stopwatch.start()
            if number == dropped:
                self._look(False)
                self._stopwatch.start()
            self._take()
        return max(seconds + self._stopwatch.stop(), SHORTEST) / self.steps


class _FillingBlock(_Block):
    """Blocks of steps that fill in outputs of teachers."""

    def __init__(self, run: Run, take: Callable[[], None]):
        self.phase, self.steps, self.ready, self._fill, self._look = Phase(FILLING), 1, False, take, lambda looking: None
        self._stopwatch = Stopwatch(run.task.device)

    @property
    def _used_up(self) -> bool:
        return False

    def _take(self) -> None:
        self._fill()

    def _guarded(self) -> AbstractContextManager[None]:
        return nullcontext()


def _measure(
    block: _Block, reference: _Block, rule: ProfileRule, alive: Callable[[], None], now: Callable[[], float] = time.monotonic
) -> tuple[tuple[float, ...], list[float]]:
    """The logarithms of the groups' ratios of a step's seconds, method over student; and the student's seconds a step, by block.

    Args:
        now: a clock, by which the measurement of a phase ends.
    """
    for measured in (block, reference):
        if measured.ready:  # the student's blocks are as long for every phase
            continue
        measured.ready = True
        measured.settle(rule.settling_steps)
        for length in (rule.block_seconds / 4, rule.block_seconds):
            measured.take_for(length)
            alive()
    begun = now()
    ratios: list[float] = []
    student: list[float] = []
    while rule.wants_group(ratios, now() - begun):
        times = []
        for measured in (block, reference, reference, block):
            times.append(measured.seconds())
            alive()
        own, first, second, again = times
        ratios.append(math.log((own + again) / (first + second)))
        student += [first, second]
    return tuple(ratios), student
