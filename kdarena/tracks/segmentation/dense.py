"""What segmentation and depth share: images, augmentation, networks and their score maps."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Self
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from kdarena.tracks.card import TaskCard
from kdarena.tracks.deployed import Deployed, FromPixels, images_of
from kdarena.tracks.modes import evaluating
from kdarena.tracks.segmentation import augment
from kdarena.tracks.segmentation.data import Arrays, DenseSet
from kdarena.tracks.segmentation.models import create
from kdarena.tracks.segmentation.models.resample import upsampled
from kdarena.tracks.segmentation.pictures import PictureTask
from kdarena.tracks.values import Batch, Outputs, Part, Setting, Split

AUXILIARY_WEIGHT = 0.4
"""Of the auxiliary head's loss (Zhao et al. 2017, arXiv 1612.01105)."""
EVALUATED_PIXELS = 2**19
"""Pixels that are evaluated at once."""
KEPT_SCORES = 2**29
"""Bytes of a reference teacher's score maps that are kept; of larger parts they are computed anew."""


class DenseTask(PictureTask):
    """Data and networks of one data set and one pair of architectures on one device; the loss and the metrics are a subclass's.

    Args:
        card: of the task.
        setting: device, precision and data root.
        data: both lists of samples.
    """

    data: DenseSet
    unknown: float
    """The target of pixels that don't count."""

    def __init__(self, card: TaskCard, setting: Setting, data: DenseSet):
        super().__init__(card, setting, data, augment.draw, EVALUATED_PIXELS)
        self._reference_maps: WeakKeyDictionary[nn.Module, dict[tuple[Part, Split | None], list[Tensor]]] = WeakKeyDictionary()

    def without_test(self) -> Self:
        """See :meth:`Task.without_test`."""
        bare, size = super().without_test(), self.data.test.size
        bare.data = replace(self.data, test=Arrays(np.empty((0, *size, 3), np.uint8), np.empty((0, *size), np.uint8)))
        bare._reference_maps = WeakKeyDictionary()
        return bare

    # data
    def augment(self, inputs: Tensor, targets: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`PictureTask.augment`."""
        return augment.apply(self.data.augmentation, inputs, targets, drawn, self.unknown)

    def one_batch(self) -> Batch:
        """One image of the mean colour, whose pixels don't count."""
        height, width = self.data.test.size
        inputs = self._arranged(torch.zeros(1, len(self.data.mean), height, width, device=self.device))
        targets = torch.full((1, height, width), self.unknown, device=self.device)
        return Batch(inputs, self.as_targets(targets), torch.zeros(1, dtype=torch.long, device=self.device))

    # networks
    def create(self, architecture: str, dropout: float) -> nn.Module:
        """See :meth:`PictureTask.create`."""
        return create(architecture, self.classes, dropout)

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
