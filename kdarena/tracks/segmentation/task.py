"""The segmentation task: each pixel of an image to one of C classes."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdarena.tracks.evaluation import Measured
from kdarena.tracks.segmentation.data import IGNORED
from kdarena.tracks.segmentation.dense import DenseTask
from kdarena.tracks.segmentation.metrics import Confusion, TeacherDistance
from kdarena.tracks.values import Outputs, Part, Split

NO_LABEL = -100


class SegmentationTask(DenseTask):
    """Labels in [0, C), 255 where a pixel doesn't count; see :class:`DenseTask`."""

    unknown = float(IGNORED)

    @functools.cached_property
    def _weights(self) -> Tensor | None:
        return None if self.data.weights is None else torch.tensor(self.data.weights, device=self.device)

    def as_targets(self, stored: Tensor) -> Tensor:
        """Labels [B, H, W] of int64."""
        return stored.long()

    def pixel_loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy, each pixel with the weight of its class where the data set has weights, over the sum of the weights."""
        counted = targets != IGNORED
        total = functional.cross_entropy(scores, targets, self._weights, ignore_index=IGNORED, reduction="sum")
        if self._weights is None:
            return total / counted.sum().clamp(min=1)
        weight = (self._weights[targets.masked_fill(~counted, 0)] * counted).sum()
        return total / weight.clamp(min=torch.finfo(weight.dtype).tiny)

    def rows(self, outputs: Outputs) -> tuple[Tensor, None]:
        """A row is a pixel of the score map, image by image and line by line, and all count: distillation needs no labels."""
        return _pixels(outputs.logits), None

    def row_targets(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """Labels of those rows: of the nearest pixels, where the map's corners are the mask's, as when it is scaled up."""
        height, width = outputs.logits.shape[2:]
        rows, columns = (_nearest(now, size, targets.device) for now, size in ((height, targets.shape[1]), (width, targets.shape[2])))
        labels = targets[:, rows[:, None], columns].flatten()
        return labels.masked_fill(labels == IGNORED, NO_LABEL)

    def part_targets(self, part: Part, split: Split) -> Tensor:
        """See :meth:`Task.part_targets`: labels on the grid of the student's score map."""
        like = Outputs(torch.empty(1, *self._score_map))
        return torch.cat([self.row_targets(like, batch.targets).cpu() for batch in self.part_batches(part, split)])

    @functools.cached_property
    def _score_map(self) -> tuple[int, ...]:
        with torch.random.fork_rng(devices=[]):
            return self.shapes(self.new_network(self.card.student)).logits

    def measured(self, network: nn.Module, part: Part, split: Split, reference: nn.Module | None = None, *, teacher_inputs: bool = False) -> Measured:
        """See :meth:`Task.measured`: ``miou``, ``pixel_accuracy`` and ``iou/CLASS`` at the masks' size; with a reference teacher
        ``agreement`` and ``teacher_kl`` over the labelled pixels.

        Raises:
            ValueError: the part is empty.
        """
        confusion, distance = Confusion(self.data.classes, IGNORED), TeacherDistance()
        for scores, targets, theirs in self.scored(network, part, split, reference):
            confusion.add(scores.argmax(dim=1), targets)
            if theirs is not None:
                distance.add(scores, theirs, targets != IGNORED)
        return Measured({**confusion.metrics(), **(distance.metrics() if reference is not None else {})}, confusion.samples())


def _pixels(scores: Tensor) -> Tensor:
    """[B, C, h, w] to [B·h·w, C]."""
    return scores.permute(0, 2, 3, 1).reshape(-1, scores.shape[1])


def _nearest(count: int, size: int, device: torch.device) -> Tensor:
    """The pixels nearest to ``count`` places from the first to the last of ``size``."""
    places = torch.arange(count, device=device, dtype=torch.float64) * ((size - 1) / max(1, count - 1))
    return (places + 0.5).floor().long()
