"""What segmentation and depth share: images, augmentation, networks and their score maps."""

from __future__ import annotations

import abc
import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, Self
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from kdarena.tracks.ahead import ahead
from kdarena.tracks.card import TaskCard
from kdarena.tracks.deployed import Deployed, FromPixels, images_of
from kdarena.tracks.modes import evaluating
from kdarena.tracks.segmentation import augment
from kdarena.tracks.segmentation.data import Arrays, DenseSet
from kdarena.tracks.segmentation.models import create
from kdarena.tracks.segmentation.models.resample import upsampled
from kdarena.tracks.segmentation.sources import PREFETCHED, Decoded, Resident, Source, fits
from kdarena.tracks.task import Task
from kdarena.tracks.values import Batch, Half, Outputs, Part, Setting, Split
from kdarena.tracks.views import Views, fixed_or

AUXILIARY_WEIGHT = 0.4
"""Of the auxiliary head's loss (Zhao et al. 2017, arXiv 1612.01105)."""
EVALUATED_PIXELS = 2**19
"""Pixels that are evaluated at once."""
KEPT_SCORES = 2**29
"""Bytes of a reference teacher's score maps that are kept; of larger parts they are computed anew."""


class DenseTask(Task):
    """Data and networks of one data set and one pair of architectures on one device; the loss and the metrics are a subclass's.

    Args:
        card: of the task.
        setting: device, precision and data root.
        data: both lists of samples.
    """

    unknown: float
    """The target of pixels that don't count."""

    def __init__(self, card: TaskCard, setting: Setting, data: DenseSet):
        super().__init__(card, setting, train=len(data.train), test=len(data.test), fixed_validation=data.fixed_validation)
        self.data = data
        height, width = data.test.size
        self.evaluation_batch = max(1, EVALUATED_PIXELS // (height * width))
        self._streamed = not (fits(data.train) and fits(data.test))
        kind = Decoded if self._streamed else Resident
        self._sources: dict[Half, Source] = {"train": kind(data.train, setting.device), "test": kind(data.test, setting.device)}
        self._mean, self._std = (torch.tensor(values, device=setting.device).view(-1, 1, 1) for values in (data.mean, data.std))
        # bytes to inputs in one multiplication and one addition
        self._factor, self._shift = 1 / (255 * self._std), -self._mean / self._std
        self._views = fixed_or(Views(augment.draw), augment.draw, len(data.train), setting.views)
        self._reference_maps: WeakKeyDictionary[nn.Module, dict[tuple[Part, Split | None], list[Tensor]]] = WeakKeyDictionary()

    def without_test(self) -> Self:
        """See :meth:`Task.without_test`."""
        bare, size = super().without_test(), self.data.test.size
        bare.data = replace(self.data, test=Arrays(np.empty((0, *size, 3), np.uint8), np.empty((0, *size), np.uint8)))
        bare._sources = {"train": self._sources["train"]}
        bare._reference_maps = WeakKeyDictionary()
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
            inputs, targets = augment.apply(self.data.augmentation, inputs, targets, drawn, self.unknown)
        place = None if view is None else view.to(self.device)
        return Batch(self._arranged(inputs), self.as_targets(targets), positions.to(self.device), view=place)

    def as_targets(self, stored: Tensor) -> Tensor:
        """Targets in the type that losses take."""
        return stored

    def one_batch(self) -> Batch:
        """One image of the mean colour, whose pixels don't count."""
        height, width = self.data.test.size
        inputs = self._arranged(torch.zeros(1, len(self.data.mean), height, width, device=self.device))
        targets = torch.full((1, height, width), self.unknown, device=self.device)
        return Batch(inputs, self.as_targets(targets), torch.zeros(1, dtype=torch.long, device=self.device))

    def _arranged(self, inputs: Tensor) -> Tensor:
        return inputs.contiguous(memory_format=torch.channels_last) if self.device.type == "cuda" else inputs.contiguous()

    @functools.cached_property
    def overlap(self) -> int | None:
        """See :meth:`Task.overlap`."""
        return self.data.test.overlap(self.data.train)

    @property
    def pixel_std(self) -> Tensor:
        """See :meth:`Task.pixel_std`."""
        return self._std

    # networks
    def new_network(self, architecture: str, *, dropout: float = 0.0) -> nn.Module:
        """See :meth:`Task.new_network`; raises ``ValueError`` for an unknown architecture.

        It is initialised on the CPU, so that a seed gives the same network on every device.
        """
        network = create(architecture, self.classes, dropout).to(self.device)
        if self.device.type == "cuda":
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network

    def answer(self, network: nn.Module, inputs: Tensor, **arguments: Any) -> Outputs:
        """See :meth:`Task.answer`.

        A network may answer with its scores [B, C, h, w], with ``(scores, auxiliary scores or None)``, with torchvision's
        mapping of ``out`` and ``aux``, or with ``(scores, exits, …)``, the exits a tuple of scores.
        """
        answer, features, _ = self.captured(network, inputs, **arguments)
        if isinstance(answer, Tensor):
            return Outputs(answer.float(), features)
        scores, further, *_ = (answer["out"], answer.get("aux")) if isinstance(answer, Mapping) else answer
        if isinstance(further, tuple):
            return Outputs(scores.float(), features, exits=tuple(one.float() for one in further))
        return Outputs(scores.float(), features, auxiliary=None if further is None else further.float())

    def deployed(self, network: nn.Module) -> Deployed:
        """See :meth:`Task.deployed`: images with pixels from 0 to 1 in, scores or distances of their pixels [B, C, H, W] out."""
        (height, width), channels = self.data.test.size, len(self.data.mean)
        preparation = {"size": [height, width], "channels": channels, "peak": 255.0, "mean": list(self.data.mean), "std": list(self.data.std)}
        program = _ToPixels(network, self.data.mean, self.data.std).eval()
        config = {"preparation": preparation, "labels": list(self.data.classes)}
        return Deployed(program, images_of((channels, height, width)), {"images": {0: "batch"}}, config, "images")

    # losses and scores
    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The loss at the targets' size of the scores, of 0.4 times the auxiliary head's, and of every exit's."""
        loss = self.pixel_loss(upsampled(outputs.logits, self._size(targets)), targets)
        if outputs.auxiliary is not None:
            loss = loss + AUXILIARY_WEIGHT * self.pixel_loss(upsampled(outputs.auxiliary, self._size(targets)), targets)
        for scores in outputs.exits:
            loss = loss + self.pixel_loss(upsampled(scores, self._size(targets)), targets)
        return loss

    @abc.abstractmethod
    def pixel_loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """The mean over pixels that count, of scores [B, C, H, W] and targets [B, H, W]; 0 where none does."""

    def scored(self, network: nn.Module, part: Part, split: Split, reference: nn.Module | None) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """A part batch by batch: scores and targets at the targets' size, and the reference teacher's scores [B, C, H, W]."""
        kept = None if reference is None else self._kept_maps(reference, part, split)
        for number, batch in enumerate(self.part_batches(part, split)):
            size, theirs = self._size(batch.targets), None
            own = upsampled(self._map(network, batch), size)
            if reference is not None:
                theirs = upsampled(self._map(reference, batch) if kept is None else kept[number].to(self.device), size)
            yield own, batch.targets, theirs

    def _kept_maps(self, reference: nn.Module, part: Part, split: Split) -> list[Tensor] | None:
        """A reference teacher's score maps of a part, batch by batch on the CPU, or None where they are too many to keep.

        They are kept for as long as the module lives, so it may not change.
        """
        kept, key = self._reference_maps.setdefault(reference, {}), self.parts.key(part, split)
        if key not in kept:
            if self.size(part, split) * math.prod(self.shapes(reference).logits) * 4 > KEPT_SCORES:
                return None
            kept[key] = [self._map(reference, batch).cpu() for batch in self.part_batches(part, split)]
        return kept[key]

    def _map(self, network: nn.Module, batch: Batch) -> Tensor:
        """A network's score map of one batch; its mode is put back before the next, since two networks may be scored in turn."""
        with evaluating(network):
            return self.answered(network, batch).logits

    @staticmethod
    def _size(targets: Tensor) -> tuple[int, int]:
        return targets.shape[-2], targets.shape[-1]


class _ToPixels(FromPixels):
    """Scores at the size of the images."""

    def forward(self, images: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C', H, W]."""
        return upsampled(super().forward(images), (images.shape[2], images.shape[3]))
