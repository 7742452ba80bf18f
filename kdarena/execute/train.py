"""The training loop: nothing per step but the step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kdarena.errors import Diverged
from kdarena.execute.average import averaged
from kdarena.execute.device_time import DeviceTime
from kdarena.execute.hooks import Hooks
from kdarena.execute.payment import HARNESS
from kdarena.execute.start import Seen
from kdarena.execute.updates import BoundUpdate, CountedUpdates, Stepper
from kdarena.execute.weights import State
from kdarena.method.contract import Phase
from kdarena.method.run import Run
from kdarena.plan.budget import share_out
from kdarena.plan.spec import PhaseCost, PhaseRecord
from kdarena.tracks.compiled import Compiled
from kdarena.tracks.values import Batch

STRIDE = 50
"""Steps between two looks at the losses (the only synchronisations of a run), and between two questions to ``Phase.stop_when``."""

HEARTBEAT = 5.0
"""Seconds after which a run with long steps says that it is alive, between two looks at the losses."""


@dataclass
class Trained:
    """What a training gave: the phases' records, curves of terms, device time and samples."""

    phases: list[PhaseRecord]
    curves: dict[str, list[tuple[int, float]]]
    seconds: float
    samples: int


class Training:
    """All phases of a run, in order."""

    def __init__(
        self,
        hooks: Hooks,
        run: Run,
        phases: Sequence[Phase],
        costs: Sequence[PhaseCost],
        amount: float,
        *,
        report: Callable[[float], None] | None = None,
        seen: Seen | None = None,
        places: Sequence[float] = (),
        device_time: DeviceTime | None = None,
    ):
        """
        Args:
            costs, amount: profiled costs of the phases, and the budget in the same unit.
            report: called on the stride with the progress of the budget.
            seen: looks at the run between its charged steps.
            places: parts of the budget at which the student's weights are kept, in ascending order.
            device_time: of all runs that train side by side with this one; None: of this one alone.
        """
        self.hooks, self.run, self.phases, self.costs = hooks, run, phases, costs
        self.amount = amount
        self._report = report or (lambda progress: None)
        self._seen = seen
        self._reported = time.monotonic()
        self._places = list(places)
        self._device_time = device_time or DeviceTime(run.task.device)
        self.kept: list[tuple[int, State]] = []
        """Steps taken, and the student's weights then, for each place that was reached."""
        self.spent = 0.0
        self.steps = 0
        self.trained = Trained([], {}, 0.0, 0)
        self._updates: list[CountedUpdates] = []
        self._augmented = run.batches("augmented")

    def __call__(self) -> Trained:
        """Train; raises :class:`Diverged` with the step and the term where a loss is not finite."""
        for _ in self.blocks():
            pass
        return self.trained

    def blocks(self) -> Iterator[None]:
        """Train block by block: waits after each, when its steps are given to the device and their losses not looked at yet, so that other runs can give
        it theirs meanwhile. Raises as a call does."""
        previous: dict[str, BoundUpdate] = {}
        steps = list(share_out(self.costs, self.amount))
        for position, phase in enumerate(self.phases):
            previous = yield from self._phase(phase, self.costs[position], steps[position], previous, last=position == len(self.phases) - 1)
            if self.trained.phases[-1].ended_early:
                # what it leaves is shared out anew; else the committed numbers remain, which a second rounding would change
                steps[position + 1 :] = share_out(self.costs[position + 1 :], self.amount - self.spent)
        self.trained.seconds = self._device_time.seconds(self)

    def student_updates(self) -> int:
        """Steps of an optimiser so far on the parameters of the network that is the student now, in whatever phases and roles it was trained."""
        return sum(updates.of(self.run.learner.student) for updates in self._updates)

    def _phase(
        self, phase: Phase, cost: PhaseCost, steps: int, previous: dict[str, BoundUpdate], *, last: bool
    ) -> Generator[None, None, dict[str, BoundUpdate]]:
        stepper, batches = begin_phase(self.hooks, self.run, phase, previous, self._augmented, self._after)
        self._look_at_run(lambda seen: seen.begins(phase.name))
        stop_when = None if last else phase.stop_when
        ended_early = False
        done = 0
        while done < steps and not ended_early:
            end = min(done - done % STRIDE + STRIDE, steps)
            while done < end:
                until = min(end, done + self._steps_to_next_place(cost))
                with self._charged(phase):
                    self._block(stepper, batches, cost, done, until, steps)
                done = until
                self._keep_student()
            with self.hooks.away():
                yield
            with self._charged(phase):
                self._look(stepper, phase)
            self._look_at_run(lambda seen: seen.asked(stepper.strangers))
            self._tell()
            if stop_when is not None and done < steps:
                self._look_at_run(lambda seen: seen.pauses())
                with self.hooks.guard("stop_when"):
                    ended_early = bool(stop_when(self.run))
                self._after("stop_when")
                self._look_at_run(lambda seen: seen.begins(phase.name))
        self.trained.phases.append(PhaseRecord(phase.name, steps, done, ended_early))
        self._updates.append(CountedUpdates(stepper))
        if not last:
            self._look_at_run(lambda seen: seen.ended())
        return {bound.name: bound for bound in stepper.bound}

    def _steps_to_next_place(self, cost: PhaseCost) -> int:
        """Steps of a phase until the student's weights are kept, or more than a block has."""
        if not self._places or cost.cost <= 0:
            return STRIDE
        return max(1, math.ceil((self._places[0] * self.amount - self.spent) / cost.cost))

    def _keep_student(self) -> None:
        """Keep a copy of the student's weights where a place is reached, one for all places that a step passes."""
        reached = [place for place in self._places if self.spent >= place * self.amount]
        if reached:
            del self._places[: len(reached)]
            with self.hooks.clock.of(HARNESS):
                self.kept.append((self.steps, averaged(self.hooks.average, self.run.learner.student)))

    def _after(self, hook: str) -> None:
        self._look_at_run(lambda seen: seen.after(hook))

    def _look_at_run(self, look: Callable[[Seen], None]) -> None:
        if self._seen is not None:
            with self.hooks.clock.of(HARNESS):
                look(self._seen)

    def _block(self, stepper: Stepper, batches: Iterator[Batch | None], cost: PhaseCost, start: int, end: int, steps: int) -> None:
        """Steps ``start`` to ``end`` of a phase of ``steps``."""
        for position in range(start, end):
            batch = next(batches)
            stepper.take(batch, position / steps, min(1.0, self.spent / self.amount))
            self.spent += cost.cost
            self.steps += 1
            self.trained.samples += 0 if batch is None else len(batch.index)
            if time.monotonic() - self._reported > HEARTBEAT:
                self._tell()

    def _tell(self) -> None:
        self._reported = time.monotonic()
        self._report(min(1.0, self.spent / self.amount))

    @contextmanager
    def _charged(self, phase: Phase) -> Iterator[None]:
        with self.hooks.guard("loss" if phase.process is None else "process"), self._device_time.charged(self):
            yield

    def _look(self, stepper: Stepper, phase: Phase) -> None:
        """Bring the losses of the last steps to the host: one synchronisation; find the first that is not finite."""
        worst: tuple[int, str, float] | None = None
        base = self.steps - stepper.count
        for (update, term), pairs in stepper.read_terms().items():
            values = torch.tensor([value for _, value in pairs])
            finite = torch.isfinite(values)
            name = f"{phase.name}/{term}" if update == "student" or update == phase.name else f"{phase.name}/{update}/{term}"
            if not bool(finite.all()):
                first = int((~finite).nonzero()[0])
                if worst is None or pairs[first][0] < worst[0]:
                    worst = (pairs[first][0], name, float(values[first]))
            self.trained.curves.setdefault(name, []).append((self.steps, float(values.mean())))
        if worst is not None:
            raise Diverged(base + worst[0], worst[1], worst[2])


def begin_phase(
    hooks: Hooks,
    run: Run,
    phase: Phase,
    previous: dict[str, BoundUpdate],
    augmented: Iterator[Batch],
    after: Callable[[str], None] = lambda hook: None,
) -> tuple[Stepper, Iterator[Batch | None]]:
    """Begin a phase: its ``prepare``, its updates bound to optimisers, and where its batches come from.

    Args:
        after: called with the name of each that has returned.
    """
    if phase.prepare is not None:
        with hooks.guard("prepare"):
            phase.prepare(run)
            run.check_teachers(weights=False)
            run.train_mode()
        after("prepare")
    stepper = Stepper(hooks, run, phase, previous)
    after("updates")
    if isinstance(run.task.call, Compiled):
        run.task.call.begin(phase.name, plainly=any(bound.update.optional for bound in stepper.bound))
    batches: Iterator[Batch | None] = augmented
    if phase.data == "auxiliary":
        with hooks.clock.of(HARNESS):
            batches = _with_auxiliary(augmented, run.task.auxiliary(run.split))
    elif phase.data == "plain":
        batches = run.batches("plain")
    elif phase.data == "none":
        batches = _nothing()
    return stepper, batches


def _with_auxiliary(augmented: Iterator[Batch], auxiliary: Iterator[Tensor]) -> Iterator[Batch]:
    for batch, inputs in zip(augmented, auxiliary, strict=False):
        yield replace(batch, auxiliary=inputs)


def _nothing() -> Iterator[None]:
    while True:
        yield None
