"""The steps of a phase from captures: eager until it is known that one stands for all, then replayed; or eager throughout, with the reason."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from kdarena.execute.capture import Capture, NotCaptured, Replay
from kdarena.execute.operations import Recorder, difference
from kdarena.execute.python_values import change
from kdarena.execute.step_terms import Name, Ring, StepTerms
from kdarena.tracks.values import Batch

FREE = 1
"""First steps on batches of one shape, which may check and build caches."""
COMPARED = 2
"""Steps after them whose operations are compared."""
MOST_SHAPES = 16
"""Shapes of batches that get a capture each."""
TOO_MANY = f"its batches have more than {MOST_SHAPES} shapes: steps on further ones are not captured"
KEEPS = "it keeps a tensor made in a step: update it in place"
OTHER_TERMS = "its terms change from step to step"


class Steps(Protocol):
    """Takes the steps of a phase in Python."""

    count: int

    def renew(self, batch: Batch | None) -> None:
        """Make it the next step, on this batch."""

    def eager(self) -> None:
        """Take the step, with everything that the harness looks at."""

    def bare(self) -> list[tuple[Name, Tensor]]:
        """Take the step and look at nothing; returns its terms."""

    def drop(self) -> None:
        """Let go of all that the step computed."""

    def values(self) -> Mapping[str, Any]:
        """What the method keeps in Python."""


@dataclass
class _Shape:
    """Steps on batches of one shape.

    Attributes:
        steps: that were taken.
        before, values: of the step before, while steps are compared.
        batch: the memory that a captured step reads.
    """

    steps: int = 0
    names: tuple[Name, ...] = ()
    before: Recorder | None = None
    values: Mapping[str, Any] | None = None
    generators: Sequence[torch.Generator] = ()
    batch: Batch | None = None
    ring: Ring | None = None
    replay: Replay | None = None


class CapturedSteps:
    """Takes the steps of a phase, from captures as soon as may be.

    Args:
        reason: why no step can be captured, where that is known before the first.
    """

    def __init__(self, capture: Capture, terms: StepTerms, device: torch.device, reason: str | None = None):
        self._capture, self._terms, self._device = capture, terms, device
        self._stopped = reason
        self._too_many = False
        self._shapes: dict[tuple[Any, ...], _Shape] = {}

    @property
    def reason(self) -> str | None:
        """Why steps are not captured, or not all of them; None as long as nothing speaks against it."""
        return self._stopped or (TOO_MANY if self._too_many else None)

    def take(self, steps: Steps, batch: Batch | None) -> None:
        """One step."""
        shape = None if self._stopped else self._shape_of(batch)
        if shape is None:
            steps.renew(batch)
            steps.eager()
        elif shape.replay is not None:
            self._replay(steps, shape, batch)
        elif shape.steps < FREE:
            steps.renew(batch)
            with self._capture.aside():
                steps.eager()
            steps.drop()
        elif shape.steps < FREE + COMPARED:
            self._compare(steps, shape, batch)
        else:
            self._take_captured(steps, shape, batch)
        if shape is not None:
            shape.steps += 1

    def _shape_of(self, batch: Batch | None) -> _Shape | None:
        key = key_of(batch)
        if key not in self._shapes:
            if len(self._shapes) == MOST_SHAPES:
                self._too_many = True
                return None
            self._shapes[key] = _Shape()
        return self._shapes[key]

    def _compare(self, steps: Steps, shape: _Shape, batch: Batch | None) -> None:
        """An eager step whose operations are recorded and compared with those of the one before."""
        steps.renew(batch)
        recorder = Recorder(_tensors(batch), self._device)
        with self._capture.aside():
            with recorder:
                terms = steps.bare()
            names = tuple(name for name, _ in terms)
            self._write(self._ring(names), [term for _, term in terms], steps.count)
        del terms
        steps.drop()
        values = steps.values()
        reason = recorder.impossible
        if reason is None and shape.before is not None and shape.values is not None:
            reason = change(shape.values, values) or difference(shape.before, recorder) or (OTHER_TERMS if names != shape.names else None)
            reason = reason or (KEEPS if _is_kept(recorder) else None)
        if reason is not None:
            self._stop(reason)
        last = shape.steps == FREE + COMPARED - 1
        shape.before, shape.values = (None, None) if last else (recorder, values)
        shape.names, shape.generators = names, recorder.generators

    def _take_captured(self, steps: Steps, shape: _Shape, batch: Batch | None) -> None:
        shape.batch, shape.ring = _copied(batch), self._ring(shape.names)

        def step() -> None:
            terms = steps.bare()
            if tuple(name for name, _ in terms) != shape.names:
                raise NotCaptured(OTHER_TERMS)
            if shape.ring is not None:
                shape.ring.write([term for _, term in terms])
            del terms
            steps.drop()

        steps.renew(shape.batch)
        try:
            shape.replay = self._capture.take(step, shape.generators)
        except NotCaptured as error:
            self._stop(f"its capture failed ({error})")
            steps.drop()
            steps.renew(batch)
            steps.eager()
            return
        self._written(shape.ring, steps.count)

    def _replay(self, steps: Steps, shape: _Shape, batch: Batch | None) -> None:
        if batch is not None:
            own = _tensors(shape.batch)
            for name, tensor in _tensors(batch).items():
                own[name].copy_(tensor, non_blocking=True)
        steps.renew(shape.batch)
        assert shape.replay is not None
        shape.replay()
        self._written(shape.ring, steps.count)

    def _stop(self, reason: str) -> None:
        self._stopped = reason
        self._shapes.clear()

    def _ring(self, names: Sequence[Name]) -> Ring | None:
        return self._terms.ring(names, self._device) if names else None

    def _write(self, ring: Ring | None, terms: Sequence[Tensor], count: int) -> None:
        if ring is not None:
            ring.write(terms)
            self._written(ring, count)

    def _written(self, ring: Ring | None, count: int) -> None:
        if ring is not None:
            self._terms.written(ring, count)


def _is_kept(recorder: Recorder) -> bool:
    """Whether somebody still holds a tensor that a step made; a circle of references holds nothing."""
    if recorder.alive():
        gc.collect()
    return recorder.alive()


def _tensors(batch: Batch | None) -> dict[str, Tensor]:
    if batch is None:
        return {}
    values = ((field.name, getattr(batch, field.name)) for field in fields(batch))
    return {name: value for name, value in values if isinstance(value, Tensor)}


def key_of(batch: Batch | None) -> tuple[Any, ...]:
    """What batches have in common that one capture serves: shapes and layouts, and which of its tensors are the same."""
    tensors = _tensors(batch)
    first: dict[int, str] = {}
    return tuple((name, first.setdefault(id(tensor), name), tuple(tensor.shape), tensor.stride(), tensor.dtype) for name, tensor in tensors.items())


def _copied(batch: Batch | None) -> Batch | None:
    """A batch in memory of its own."""
    if batch is None:
        return None
    copies: dict[int, Tensor] = {}
    for tensor in _tensors(batch).values():
        copies.setdefault(id(tensor), torch.empty_like(tensor).copy_(tensor))
    return replace(batch, **{name: copies[id(tensor)] for name, tensor in _tensors(batch).items()})
