"""The views of a training sample: its augmentations by number, so that what a network makes of one can be kept and looked up."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kdarena.tracks.parts import generator

MOST_VIEWS = 16
"""Augmentations at most that are numbered where all of a task's are: with more of them, a run of usual length sees few views twice."""

Draw = Callable[[int, torch.Generator], Tensor]
"""Random numbers of the augmentation of so many samples [count, …], from a generator on the CPU."""


class Views:
    """Draws augmentations that have no number.

    Attributes:
        count: augmentations of a sample, V; None where they have no number.
        plain: the number under which a sample is not augmented, or None.
    """

    count: int | None = None
    plain: int | None = None

    def __init__(self, draw: Draw):
        self._draw = draw

    def drawn(self, rows: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Random numbers of the augmentation of the samples at ``rows`` [N], and their views [N] where they have one, on the CPU."""
        return self._draw(len(rows), random), None

    def numbered(self, rows: Tensor, numbers: Tensor) -> Tensor:
        """Random numbers of the augmentation of the samples at ``rows`` [N] under the ``numbers`` [N]."""
        raise ValueError("these augmentations have no number")

    def of_plain(self, rows: Tensor) -> Tensor | None:
        """Views of unaugmented samples [N], where they have one."""
        return None if self.count is None or self.plain is None else rows * self.count + self.plain


class FewViews(Views):
    """All augmentations of a task, the same for each sample.

    Args:
        every: the random numbers of each [V, k].
        number: of what was drawn [N, k], its place in ``every`` [N].
        plain: the number under which a sample is not augmented.
    """

    def __init__(self, draw: Draw, every: Tensor, number: Callable[[Tensor], Tensor], plain: int):
        super().__init__(draw)
        self.count, self.plain = len(every), plain
        self._every, self._number = every, number

    def drawn(self, rows: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """See :meth:`Views.drawn`."""
        drawn = self._draw(len(rows), random)
        return drawn, rows * len(self._every) + self._number(drawn)

    def numbered(self, rows: Tensor, numbers: Tensor) -> Tensor:
        """See :meth:`Views.numbered`."""
        return self._every[numbers]


class FixedViews(Views):
    """A few augmentations of each sample, drawn once and the same for every seed.

    Args:
        samples: of the train half.
        count: V.
    """

    def __init__(self, draw: Draw, samples: int, count: int):
        super().__init__(draw)
        self.count: int = count
        every = draw(samples * count, generator(0, "views"))
        self._every = every.view(samples, count, *every.shape[1:])

    def drawn(self, rows: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """See :meth:`Views.drawn`."""
        numbers = torch.randint(0, self.count, (len(rows),), generator=random)
        return self._every[rows, numbers], rows * self.count + numbers

    def numbered(self, rows: Tensor, numbers: Tensor) -> Tensor:
        """See :meth:`Views.numbered`."""
        return self._every[rows, numbers]


def fixed_or(views: Views, draw: Draw, samples: int, count: int | None) -> Views:
    """A few fixed augmentations of each of so many samples where a ``count`` of them is given, else the views that a task has."""
    return views if count is None else FixedViews(draw, samples, count)
