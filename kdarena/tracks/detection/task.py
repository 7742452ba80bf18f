"""The detection task: boxes and classes of what is in an image."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Self
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kdarena.tracks.card import TaskCard
from kdarena.tracks.deployed import Deployed
from kdarena.tracks.detection import augment
from kdarena.tracks.detection.data import Arrays, BoxSet, Samples
from kdarena.tracks.detection.decode import decoded
from kdarena.tracks.detection.deployed import deployed
from kdarena.tracks.detection.losses import detection_loss
from kdarena.tracks.detection.measured import Answer, TeacherDistance, in_pictures
from kdarena.tracks.detection.metrics import box_metrics
from kdarena.tracks.detection.models import create, pyramid_of
from kdarena.tracks.detection.targets import LEFT_OUT, Assigned, Places, assign
from kdarena.tracks.evaluation import Measured
from kdarena.tracks.modes import evaluating
from kdarena.tracks.segmentation.pictures import PictureTask
from kdarena.tracks.values import Batch, Outputs, Part, Setting, Split

EVALUATED_PIXELS, EVALUATED_ON_CUDA = 2**18, 2**21
"""Pixels that are evaluated at once: a GPU waits for its next command where they are few."""
KEPT_SCORES = 2**29
"""Bytes of a reference teacher's scores that are kept; of larger parts they are computed anew."""
NO_LABEL = -100


class DetectionTask(PictureTask):
    """Data and networks of one data set and one pair of architectures on one device.

    Args:
        card: of the task.
        setting: device, precision and data root.
        data: both lists of samples.

    Raises:
        ValueError: in one line: teacher and student look at different places.
    """

    data: BoxSet

    def __init__(self, card: TaskCard, setting: Setting, data: BoxSet):
        super().__init__(card, setting, data, augment.draw, EVALUATED_ON_CUDA if setting.device.type == "cuda" else EVALUATED_PIXELS)
        self.pyramid = pyramid_of(card.teacher, card.student)
        self._places = {self.pyramid.places(size): (size, Places.of(self.pyramid, size, setting.device)) for size in (data.augmentation.size, data.test.size)}
        self._reference_answers: WeakKeyDictionary[nn.Module, dict[tuple[Part, Split | None], list[Answer]]] = WeakKeyDictionary()

    def without_test(self) -> Self:
        """See :meth:`Task.without_test`."""
        bare, size = super().without_test(), self.data.test.size
        bare.data = replace(self.data, test=Arrays(np.empty((0, *size, 3), np.uint8), np.empty((0, self.data.most, 6), np.float32)))
        bare._reference_answers = WeakKeyDictionary()
        return bare

    # data
    def augment(self, inputs: Tensor, targets: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`PictureTask.augment`."""
        return augment.apply(self.data.augmentation, inputs, targets, drawn)

    def one_batch(self) -> Batch:
        """One image of the mean colour, in which nothing is."""
        height, width = self.data.test.size
        inputs = self._arranged(torch.zeros(1, len(self.data.mean), height, width, device=self.device))
        boxes = torch.zeros(1, self.data.most, 6, device=self.device)
        return Batch(inputs, boxes, torch.zeros(1, dtype=torch.long, device=self.device))

    # networks
    def create(self, architecture: str, dropout: float) -> nn.Module:
        """See :meth:`PictureTask.create`."""
        return create(architecture, self.classes, dropout)

    def answer(self, network: nn.Module, inputs: Tensor, **arguments: Any) -> Outputs:
        """See :meth:`Task.answer`; a network answers with scores [B, C, P] and boxes [B, 5, P]."""
        (scores, boxes), features, _ = self.captured(network, inputs, **arguments)
        return Outputs(scores.float(), features, boxes=boxes.float())

    def together(self, members: list[Outputs]) -> Outputs:
        """See :meth:`Task.together`: the logits of the mean of σ(z), and the mean of distances and of centre-ness logits."""
        logits = torch.stack([member.logits for member in members])
        # ln of the mean of σ(z) and of σ(−z), whose number of members cancels out
        mean = functional.logsigmoid(logits).logsumexp(dim=0) - functional.logsigmoid(-logits).logsumexp(dim=0)
        boxes = torch.stack([boxes_of(member) for member in members]).mean(dim=0)
        return Outputs(mean, exits=tuple(logits.unbind(0)), boxes=boxes)

    def deployed(self, network: nn.Module) -> Deployed:
        """See :meth:`Task.deployed`: images with pixels from 0 to 1 in, decoded boxes and scores of all places out, before suppression."""
        return deployed(network, self.data, self.places(self.data.test.size).to(torch.device("cpu")))

    # losses and rows
    def places(self, size: tuple[int, int]) -> Places:
        """The places of inputs of so many rows and columns."""
        return self._places[self.pyramid.places(size)][1]

    def assigned(self, outputs: Outputs, targets: Tensor) -> Assigned:
        """What belongs to each place of outputs."""
        return assign(self._places[outputs.logits.shape[2]][1], targets)

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """See :func:`kdarena.tracks.detection.losses.detection_loss`."""
        return detection_loss(outputs.logits, boxes_of(outputs), self.assigned(outputs, targets))

    def score_maps(self, outputs: Outputs) -> list[Tensor]:
        """See :meth:`Task.score_maps`: the scores of each level of the pyramid, fine to coarse."""
        size, _ = self._places[outputs.logits.shape[2]]
        grids = self.pyramid.grids(size)
        levels = outputs.logits.split([rows * columns for rows, columns in grids], dim=2)
        return [level.unflatten(2, grid) for level, grid in zip(levels, grids, strict=True)]

    def rows(self, outputs: Outputs) -> tuple[Tensor, Tensor]:
        """Each class of each place is a row [B·P·C, 2], image by image and place by place, with its place's largest score as its weight.

        A score is a sigmoid, so each is a Bernoulli distribution of its own: a softmax over the two logits (0, z), whose second probability at a
        temperature T is σ(z / T). Without weights the few places where something is would be lost among hundreds where nothing is; the task's own
        loss is divided by the number of those few for the same reason.
        """
        score = outputs.logits.transpose(1, 2)
        weights = score.detach().amax(dim=2, keepdim=True).sigmoid().expand_as(score).reshape(-1)
        flat = score.reshape(-1)
        return torch.stack([torch.zeros_like(flat), flat], dim=1), weights

    def row_targets(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """Labels of those rows: 1 for the class of the place's box, else 0, and −100 at the places that don't count."""
        classes = self.assigned(outputs, targets).classes.unsqueeze(2)
        labels = (classes == torch.arange(self.classes, device=classes.device)).long()
        return labels.masked_fill(classes == LEFT_OUT, NO_LABEL).flatten()

    def part_targets(self, part: Part, split: Split) -> Tensor:
        """See :meth:`Task.part_targets`: labels of the rows of all places."""
        like = Outputs(torch.empty(1, 1, self.pyramid.places(self.data.test.size)))
        return torch.cat([self.row_targets(like, batch.targets).cpu() for batch in self.part_batches(part, split)])

    # evaluation
    def measured(self, network: nn.Module, part: Part, split: Split, reference: nn.Module | None = None, *, teacher_inputs: bool = False) -> Measured:
        """See :meth:`Task.measured`: metrics of the boxes in the original pictures (:func:`kdarena.tracks.detection.metrics.box_metrics`), and with a
        reference teacher those of :class:`TeacherDistance`.

        Raises:
            ValueError: the part is empty.
        """
        found, distance = [], TeacherDistance()
        theirs: Iterable[Answer | None] = itertools.repeat(None) if reference is None else self._kept_answers(reference, part, split)
        for own, other in zip(self._answers(network, part, split), theirs):  # noqa: B905 - without a reference the second has no end
            found.append(own.found)
            if other is not None:
                distance.add(own, other.to(self.device))
        rows, samples = self._samples(part, split)
        metrics = box_metrics(in_pictures(found, samples.sizes(rows)[:, 2]), samples.truth(rows), self.data.classes)
        return Measured({**metrics, **(distance.metrics() if reference is not None else {})})

    def _samples(self, part: Part, split: Split) -> tuple[list[int], Samples]:
        """The rows of a part, and the list that they belong to."""
        return self.parts.rows(part, split).tolist(), self.data.test if part == "test" else self.data.train

    def _answers(self, network: nn.Module, part: Part, split: Split) -> Iterator[Answer]:
        """What a network says of a part, batch by batch; its mode is put back before the next, since two networks may be asked in turn."""
        rows, samples = self._samples(part, split)
        sizes = torch.from_numpy(samples.sizes(rows)).to(self.device, torch.float32).split(self.evaluation_batch)
        for batch, (height, width, scale) in zip(self.part_batches(part, split), (size.unbind(1) for size in sizes), strict=True):
            with evaluating(network):
                outputs = self.answered(network, batch)
            content = torch.stack([height * scale, width * scale], dim=1)
            with torch.no_grad():
                found = decoded(outputs.logits, boxes_of(outputs), self.places(self.data.test.size), content)
            yield Answer(outputs.logits, found)

    def _kept_answers(self, reference: nn.Module, part: Part, split: Split) -> Iterable[Answer]:
        """A reference teacher's answers on a part, batch by batch, kept on the CPU where they are not too many.

        They are kept for as long as the module lives, so it may not change.
        """
        kept, key = self._reference_answers.setdefault(reference, {}), self.parts.key(part, split)
        if self.size(part, split) * self.classes * self.pyramid.places(self.data.test.size) * 4 > KEPT_SCORES:
            return self._answers(reference, part, split)
        if key not in kept:
            kept[key] = [answer.to(torch.device("cpu")) for answer in self._answers(reference, part, split)]
        return kept[key]


def boxes_of(outputs: Outputs) -> Tensor:
    """The boxes of a detector's outputs; raises ``ValueError`` where they have none."""
    if outputs.boxes is None:
        raise ValueError("these outputs have scores and no boxes")
    return outputs.boxes
