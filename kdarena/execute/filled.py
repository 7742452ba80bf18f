"""A run, or a profile, whose steps look up outputs of its teachers; and what of them a method reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kdarena.errors import UserError
from kdarena.execute.teacher_outputs import Asked, Filling, Lookup, Stored, filling_steps, first_outputs, view_batches
from kdarena.execute.workspace import Workspace
from kdarena.method.run import Run
from kdarena.plan.cost import ProfileSpec
from kdarena.plan.spec import FILLING, PhaseRecord, RunSpec
from kdarena.tracks.known_logits import KnownLogits
from kdarena.tracks.reading import Layout, noted
from kdarena.tracks.task import Task
from kdarena.tracks.values import Batch, Outputs

HEARTBEAT = 5.0
"""Seconds after which a run that fills in outputs says that it is alive."""
NO_MEMORY = "the outputs of its teachers do not fit into a quarter of the free memory, so that they are called in every step"


@dataclass(frozen=True)
class Filled:
    """What came of a run's filling.

    Attributes:
        seconds: of device time; 0 where runs before it did it.
        records: of its phase; none where nothing is stored.
        notes: for a reader of the run's row.
    """

    seconds: float = 0.0
    records: tuple[PhaseRecord, ...] = ()
    notes: tuple[str, ...] = ()


def fill(spec: RunSpec, task: Task, run: Run, workspace: Workspace) -> Filled:
    """Compute what is missing of the outputs that the run's steps are to look up; from then on they do.

    Args:
        run: just made, so that its teachers are as they were loaded.
    """
    if not spec.stored:
        return Filled()
    store, teachers = workspace.teacher_outputs, _asked(spec, run)
    seconds = store.fill(task, teachers, _now_and_then(workspace.report, spec.key))
    if seconds is None:
        return Filled(notes=(NO_MEMORY,), records=_records(spec))
    for teacher in teachers:
        run.answers[id(teacher.network)] = store.answers(task, teacher)
    return Filled(seconds, _records(spec))


def left_of(spec: RunSpec) -> tuple[float, tuple[float, ...]]:
    """What a run's budget leaves for the method's own phases, and at which parts of that its learning curve is measured."""
    amount, places = spec.budget.amount, spec.curve.places if spec.curve else ()
    filling = sum((cost.steps or 0) * cost.cost for cost in spec.costs if cost.phase == FILLING)
    if not filling:
        return amount, places
    left = amount - filling
    return left, tuple(max(0.0, (place * amount - filling) / left) for place in places)


class Notes:
    """What a method reads of its teachers' outputs where they could be looked up, while it is looked at.

    Attributes:
        read: the parts of each teacher, by name.
    """

    def __init__(self, run: Run):
        """From now on, the teachers of the run's pool are looked at; not those that are tables already."""
        self._looking = True
        self._names: tuple[set[str], ...] = tuple(set() for _ in run.teachers)
        for teacher, names in zip(run.teachers, self._names, strict=True):
            if isinstance(teacher, KnownLogits):
                continue
            run.answers[id(teacher)] = self._noting(names)

    def look(self, looking: bool) -> None:
        """Look at the next steps, or don't."""
        self._looking = looking

    @property
    def read(self) -> tuple[tuple[str, ...], ...]:
        """See above."""
        return tuple(tuple(sorted(names)) for names in self._names)

    def _noting(self, names: set[str]) -> Callable[[Batch, Callable[[], Outputs]], Outputs]:
        def answer(batch: Batch, compute: Callable[[], Outputs]) -> Outputs:
            outputs = compute()
            return noted(outputs, names) if self._looking and batch.view is not None else outputs

        return answer


def measured(spec: ProfileSpec, task: Task, run: Run, workspace: Workspace) -> tuple[tuple[Callable[[], None], int] | None, Notes]:
    """Prepare a run for its cost profile: to look up outputs where the spec says so, else to note what the method reads.

    Costs do not depend on values: what is looked up is of the right kind, of whatever samples.

    Args:
        run: just made, so that its teachers are as they were loaded.

    Returns:
        a step of the filling, and how many there are; None where nothing is looked up.

    Raises:
        UserError: there is no memory for the outputs.
    """
    notes = Notes(run)
    if not spec.stored:
        return None, notes
    teachers = _asked(spec, run)
    if not workspace.teacher_outputs.fits(task, teachers):
        raise UserError(NO_MEMORY)
    firsts, count = first_outputs(task, teachers), task.card.recipe.batch_size
    anything, scratch = (Filling(task, teachers, firsts, count, task.device) for _ in range(2))
    batches = _again_and_again(task)
    first = next(batches)
    anything(0, first)
    for teacher in teachers:
        stored = Stored(Layout.of(firsts[teacher.key]), anything.tables[teacher.key])
        run.answers[id(teacher.network)] = Lookup(task, teacher, stored, every=len(first.targets))
    return (lambda: scratch(0, next(batches)), filling_steps(task)), notes


def _again_and_again(task: Task) -> Iterator[Batch]:
    """Batches of all views, without an end."""
    while True:
        yield from view_batches(task)


def _asked(spec: RunSpec | ProfileSpec, run: Run) -> list[Asked]:
    pool = zip(spec.teachers, run.teachers, spec.stored, strict=True)
    return [Asked(key, network, parts) for (_, key), network, parts in pool if parts]


def _records(spec: RunSpec) -> tuple[PhaseRecord, ...]:
    return tuple(PhaseRecord(FILLING, cost.steps or 0, cost.steps or 0) for cost in spec.costs if cost.phase == FILLING)


def _now_and_then(report: Callable[[str, float], None] | None, key: str) -> Callable[[], None]:
    """Says that a run is alive, at most once in :data:`HEARTBEAT`."""
    last = [time.monotonic()]

    def alive() -> None:
        if report is not None and time.monotonic() - last[0] > HEARTBEAT:
            last[0] = time.monotonic()
            report(key, 0.0)

    return alive
