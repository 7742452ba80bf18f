"""A part of a task's validation samples, for what is measured often."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from kdarena.tracks.parts import Parts, generator
from kdarena.tracks.task import Task
from kdarena.tracks.values import Part, Split


@dataclass(frozen=True)
class SampledParts(Parts):
    """The parts of a task of which one has at most so many samples, the same ones for a seed; more of them contain fewer.

    Attributes:
        sampled: the part.
        kept: the most samples that it has.
    """

    sampled: Part = "validation"
    kept: int = 0

    def rows(self, part: Part, split: Split) -> Tensor:
        """See :meth:`Parts.rows`."""
        rows = super().rows(part, split)
        if part != self.sampled or len(rows) <= self.kept:
            return rows
        order = torch.randperm(len(rows), generator=generator(split.seed, "subsample", part))
        return rows[order[: self.kept].sort().values]


def sampled(task: Task, part: Part, count: int) -> Task:
    """A task without test whose ``part`` has at most so many samples; the data are shared."""
    view = task.without_test()
    own = {field.name: getattr(task.parts, field.name) for field in dataclasses.fields(Parts)}
    view.parts = SampledParts(**own, sampled=part, kept=count)
    return view
