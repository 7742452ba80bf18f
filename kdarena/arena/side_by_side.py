"""Which runs train side by side on one device: as many as the user said, or on a GPU as many as its memory holds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kdarena.arena.scheduler import Job
from kdarena.engines.engine import Result, Spec
from kdarena.plan.cost import CostProfile
from kdarena.plan.spec import RunSpec

MOST = 16
"""Runs side by side on one GPU at most, where the user does not say how many."""
PART = 0.8
"""Of the memory that is free: more is not planned with."""


@dataclass(frozen=True)
class _Memory:
    """MiB that one run takes of a device, and that were free when it began."""

    own: float
    free: float


@dataclass(frozen=True)
class _Kind:
    """What decides how much memory a run takes: runs of one kind differ in seed, values of parameters and length."""

    task: str
    precision: str
    method: str
    trained: str | None

    @staticmethod
    def of(spec: Spec) -> _Kind:
        return _Kind(spec.task, spec.precision, spec.method, spec.trains.architecture if spec.trains else None)


class SideBySide:
    """Chooses runs that train side by side.

    Args:
        stated: how many, as the user said; None: one on a CPU, where a second one would only take the first one's cache, and on a GPU as many as the
            memory that one takes allows.
        device: the kind of the devices: ``cpu``, ``cuda`` or ``mps``.
    """

    def __init__(self, stated: int | None = None, device: str = "cpu"):
        self._fits_all = stated is not None
        self._most = stated if stated is not None else MOST if device == "cuda" else 1
        self._memory: dict[_Kind, _Memory] = {}
        self._held: dict[_Kind, int] = {}  # runs of a kind that memory was found to hold
        self._groups: dict[str, tuple[int, bool]] = {}  # by key of a run: how many were given to a worker with it, and whether all are of its kind

    @property
    def several(self) -> bool:
        """Whether more than one run may train on a device."""
        return self._most > 1

    def learn(self, spec: Spec, result: Result) -> None:
        """Take from a result what memory a run needs; of a cost profile only where no run has shown it."""
        kind = _Kind.of(spec)
        if isinstance(result, CostProfile):
            if result.own_memory_mib and result.free_memory_mib and kind not in self._memory:
                self._memory[kind] = _Memory(result.own_memory_mib, result.free_memory_mib)
            return
        if "together" not in result.system:
            return
        together = int(result.system["together"])
        asked, alike = self._groups.pop(spec.key, (together, True))
        if together < asked:
            self._held[kind] = min(together, self._held.get(kind, together))
        own, free = result.system.get("own_memory_mib"), result.system.get("free_memory_mib")
        if own and free and alike:
            self._memory[kind] = _Memory(own / together, free)

    def set_apart(self, spec: Spec) -> None:
        """A run that was given to a worker with others will be run again alone, for another reason than memory."""
        self._groups.pop(spec.key, None)

    def companions(self, first: Job, waiting: Sequence[Job], idle: int, *, in_order: bool) -> list[Job]:
        """Runs that train at a job's side; none where the job is no training, or where it is not known how much memory one run takes.

        Args:
            waiting: jobs that could start, in their turn.
            idle: workers that have nothing to do, among which the runs are shared out.
            in_order: whether runs may not overtake each other, as where they are done seed by seed for as long as the time lasts: then runs of several
                methods and of one seed are chosen, else those of one method.
        """
        alike = [job for job in waiting if _go_together(first.spec, job.spec, any_method=in_order) and (job.turn == first.turn or not in_order)]
        most = min(self._most, math.ceil((1 + len(alike)) / idle))
        chosen = list(self._that_fit(first.spec, alike, most - 1))
        if chosen:
            kinds = {_Kind.of(job.spec) for job in (first, *chosen)}
            for job in (first, *chosen):
                self._groups[job.spec.key] = (1 + len(chosen), len(kinds) == 1)
        return chosen

    def _that_fit(self, first: Spec, alike: Sequence[Job], most: int) -> Iterator[Job]:
        if self._fits_all:
            yield from alike[: max(0, most)]
            return
        known = self._memory.get(_Kind.of(first))
        if known is None:
            return
        left = PART * known.free - known.own
        most = min(most, self._held.get(_Kind.of(first), most + 1) - 1)
        for job in alike:
            need = self._memory.get(_Kind.of(job.spec))
            if most > 0 and need is not None and need.own <= left:
                left, most = left - need.own, most - 1
                yield job


def _go_together(first: Spec, other: Spec, *, any_method: bool) -> bool:
    """Whether two jobs are trainings on one task, and both trials or neither."""
    if not (_is_training(first) and _is_training(other)) or (first.task, first.precision, first.views) != (other.task, other.precision, other.views):
        return False
    if _is_trial(first) != _is_trial(other):
        return False
    return _Kind.of(first) == _Kind.of(other) or (any_method and first.trains is None and other.trains is None)


def _is_training(spec: Spec) -> bool:
    return isinstance(spec, RunSpec) and spec.purpose != "given"


def _is_trial(spec: Spec) -> bool:
    return isinstance(spec, RunSpec) and spec.purpose == "tune"
