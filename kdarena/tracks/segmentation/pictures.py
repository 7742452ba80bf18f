"""What tasks share whose inputs are pictures and whose targets go along with them as they are augmented: labels of pixels, distances, boxes."""

from __future__ import annotations

import abc
import functools
from collections.abc import Iterator
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from kdarena.tracks.ahead import ahead
from kdarena.tracks.card import TaskCard
from kdarena.tracks.segmentation.sources import PREFETCHED, Decoded, Resident, Source, fits
from kdarena.tracks.task import Task
from kdarena.tracks.values import Batch, Half, Setting, Split
from kdarena.tracks.views import Draw, Views, fixed_or


class PictureTask(Task):
    """Pictures of one data set on one device, and the networks for them.

    Args:
        card: of the task.
        setting: device, precision and data root.
        data: both lists of samples, ``train`` and ``test``, with ``fixed_validation``, ``mean`` and ``std``.
        draw: draws what an augmentation takes, of so many samples.
        evaluated_pixels: pixels that are evaluated at once.
    """

    data: Any

    def __init__(self, card: TaskCard, setting: Setting, data: Any, draw: Draw, evaluated_pixels: int):
        super().__init__(card, setting, train=len(data.train), test=len(data.test), fixed_validation=data.fixed_validation)
        self.data = data
        height, width = data.test.size
        self.evaluation_batch = max(1, evaluated_pixels // (height * width))
        self._streamed = not (fits(data.train) and fits(data.test))
        kind = Decoded if self._streamed else Resident
        self._sources: dict[Half, Source] = {"train": kind(data.train, setting.device), "test": kind(data.test, setting.device)}
        self._mean, self._std = (torch.tensor(values, device=setting.device).view(-1, 1, 1) for values in (data.mean, data.std))
        # bytes to inputs in one multiplication and one addition
        self._factor, self._shift = 1 / (255 * self._std), -self._mean / self._std
        self._views = fixed_or(Views(draw), draw, len(data.train), setting.views)

    def without_test(self) -> Self:
        """See :meth:`Task.without_test`; the data are the subclass's."""
        bare = super().without_test()
        bare._sources = {"train": self._sources["train"]}
        return bare

    # data
    def batches(self, split: Split, data: Literal["augmented", "plain"]) -> Iterator[Batch]:
        """See :meth:`Task.batches`; files are decoded ahead."""
        every = super().batches(split, data)
        return ahead(every, PREFETCHED) if self._streamed else every

    def batch(self, half: Half, rows: Tensor, positions: Tensor, random: torch.Generator | None) -> Batch:
        """See :meth:`Task.batch`."""
        drawn, view = (None, None) if random is None else self._views.drawn(rows, random)
        return self._augmented(half, rows, positions, drawn, view if half == "train" else None)

    def seen(self, rows: Tensor, numbers: Tensor) -> Batch:
        """See :meth:`Task.seen`."""
        return self._augmented("train", rows, rows, self._views.numbered(rows, numbers), None)

    def _augmented(self, half: Half, rows: Tensor, positions: Tensor, drawn: Tensor | None, view: Tensor | None) -> Batch:
        images, targets = self._sources[half].take(rows)
        inputs = torch.addcmul(self._shift, images.float(), self._factor)
        if drawn is not None:
            inputs, targets = self.augment(inputs, targets, drawn)
        place = None if view is None else view.to(self.device)
        return Batch(self._arranged(inputs), self.as_targets(targets), positions.to(self.device), view=place)

    @abc.abstractmethod
    def augment(self, inputs: Tensor, targets: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and their targets under the augmentations that were drawn."""

    def as_targets(self, stored: Tensor) -> Tensor:
        """Targets in the type that losses take."""
        return stored

    def _arranged(self, inputs: Tensor) -> Tensor:
        return inputs.contiguous(memory_format=torch.channels_last) if self.device.type == "cuda" else inputs.contiguous()

    @functools.cached_property
    def overlap(self) -> int | None:
        """See :meth:`Task.overlap`."""
        return self.data.test.overlap(self.data.train) if len(self.data.test) else None

    @property
    def pixel_std(self) -> Tensor:
        """See :meth:`Task.pixel_std`."""
        return self._std

    # networks
    def new_network(self, architecture: str, *, dropout: float = 0.0) -> nn.Module:
        """See :meth:`Task.new_network`; raises ``ValueError`` for an unknown architecture.

        It is initialised on the CPU, so that a seed gives the same network on every device.
        """
        network = self.create(architecture, dropout).to(self.device)
        if self.device.type == "cuda":
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network

    @abc.abstractmethod
    def create(self, architecture: str, dropout: float) -> nn.Module:
        """A network of the track on the CPU."""
