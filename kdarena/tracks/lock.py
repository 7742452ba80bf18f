"""What the hooks of a run see of a task: its training part, and neither validation nor test.

In Python nothing can keep code that runs in the same process from reading a file or another object's memory: a method that decodes the
data set itself is not noticed. What is noticed is a task that a hook makes (:class:`kdarena.Task`), and what it asks of the run's own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from kdarena.errors import Locked
from kdarena.tracks.parts import Parts
from kdarena.tracks.task import Task
from kdarena.tracks.values import Batch, Half, Part, Split


@dataclass(frozen=True)
class TrainingParts(Parts):
    """The parts of a task of which a run's hooks get the training part of the run's own split alone."""

    split: Split = Split(0)  # noqa: RUF009 - it is frozen

    def rows(self, part: Part, split: Split) -> Tensor:
        """See :meth:`Parts.rows`; raises :class:`Locked` for any other part or split."""
        if part != "train":
            raise Locked(f"asks for the {part} part; until its last step a method sees train alone")
        if split != self.split:
            raise Locked("asks for the training part of another seed or protocol, which has samples of its own validation part; use run.split")
        return super().rows(part, split)


class _TrainingView(Task):
    """What a task refuses as the training view of a run. Never made: :func:`training_view` puts it before a task's own class.

    Attributes:
        auxiliary_drawn: whether auxiliary inputs were drawn.
    """

    auxiliary_drawn: bool
    _declared_auxiliary: bool
    _trained_on: Tensor
    _one_batch: Batch

    def batch(self, half: Half, rows: Tensor, positions: Tensor, random: torch.Generator | None) -> Batch:
        """See :meth:`Task.batch`, of the samples that the run trains on."""
        if half != "train" or not bool(self._trained_on[rows.cpu()].all()):
            raise Locked("asks for samples of the validation or the test part; until its last step a method sees train alone")
        return super().batch(half, rows, positions, random)  # type: ignore[safe-super]

    def one_batch(self) -> Batch:
        """See :meth:`Task.one_batch`."""
        return self._one_batch

    def auxiliary(self, split: Split) -> Iterator[Tensor]:
        """See :meth:`Task.auxiliary`, for a method that declares it."""
        if not self._declared_auxiliary:
            raise Locked("asks for the task's auxiliary inputs, which it does not declare: set auxiliary=True in its Method")
        return self._drawn(super().auxiliary(split))

    def _drawn(self, inputs: Iterator[Tensor]) -> Iterator[Tensor]:
        for batch in inputs:
            self.auxiliary_drawn = True
            yield batch

    def seen(self, rows: Tensor, numbers: Tensor) -> Batch:
        """Refused: its rows may be of validation."""
        _refuse("seen")

    @property
    def overlap(self) -> int | None:
        """Refused: it compares with test."""
        _refuse("overlap")

    def detection(self, network: nn.Module, part: Part, split: Split, scores: Any = None) -> dict[str, float]:
        """Refused: it scores outliers."""
        _refuse("detection")

    def further_metrics(self, group: str, network: nn.Module, split: Split) -> dict[str, float]:
        """Refused: it scores on test."""
        _refuse("further_metrics")


def training_view(task: Task, split: Split, *, auxiliary: bool) -> Task:
    """A task as the hooks of a run get it: without what belongs to test, and with the training part alone.

    What a hook puts in the place of one of its functions ends with the run; the training data are shared.

    Args:
        split: of the run.
        auxiliary: whether the method declares that it takes auxiliary inputs.
    """
    view = task.without_test()
    own = {field.name: getattr(task.parts, field.name) for field in dataclasses.fields(Parts)}
    view.parts = TrainingParts(**own, split=split)
    trained_on = torch.zeros(task.parts.train, dtype=torch.bool)
    trained_on[task.parts.rows("train", split)] = True
    vars(view).update(auxiliary_drawn=False, _declared_auxiliary=auxiliary, _trained_on=trained_on, _one_batch=task.one_batch())
    # a class of its own for each run, so that what a hook changes in it ends with the run too
    view.__class__ = type(type(task).__name__, (_TrainingView, type(task)), {"__module__": type(task).__module__})
    return view


def auxiliary_drawn(view: Task) -> bool:
    """Whether a run drew auxiliary inputs from its training view."""
    return isinstance(view, _TrainingView) and view.auxiliary_drawn


def _refuse(what: str) -> NoReturn:
    raise Locked(f"asks the task for {what}; until its last step a method sees train alone")
