"""What a detector is scored by: its detections in the pixels of the original pictures, and its distance from a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from kdarena.tracks.detection.boxes import pairwise_iou
from kdarena.tracks.detection.decode import Found
from kdarena.tracks.detection.metrics import Detections

SURE, SAME = 0.3, 0.5
"""A detection counts for agreement from this score on, and is found again where another overlaps it by that much."""


@dataclass(frozen=True)
class Answer:
    """What a detector says of a batch.

    Attributes:
        logits: of the classes [B, C, P].
        found: the detections, in pixels of the inputs.
    """

    logits: Tensor
    found: Found

    def to(self, device: torch.device) -> Answer:
        """The same on another device."""
        return Answer(self.logits.to(device), Found(*(getattr(self.found, field.name).to(device) for field in fields(Found))))


def in_pictures(found: Sequence[Found], scales: np.ndarray) -> Detections:
    """Detections of several batches in the pixels of the original pictures.

    Args:
        found: in pixels of the inputs, batch by batch.
        scales: by which each picture was multiplied [N].
    """
    most = max(batch.scores.shape[1] for batch in found)

    def padded(field: str) -> np.ndarray:
        values = [getattr(batch, field) for batch in found]
        arrays: np.ndarray = torch.cat([functional.pad(value, (0, 0) * (value.dim() - 2) + (0, most - value.shape[1])) for value in values]).cpu().numpy()
        return arrays

    count = torch.cat([batch.count for batch in found]).cpu().numpy()
    return Detections(padded("boxes") / scales[:, None, None], padded("scores"), padded("classes"), count)


class TeacherDistance:
    """Agreement and divergence of a detector and a reference teacher, batch by batch."""

    def __init__(self) -> None:
        self._divergence, self._places, self._found_again, self._theirs = 0.0, 0, 0, 0

    def add(self, own: Answer, theirs: Answer) -> None:
        """One batch, and what the teacher says of it."""
        self._divergence += float(binary_divergence(theirs.logits, own.logits).sum(dtype=torch.float64))
        self._places += own.logits.shape[0] * own.logits.shape[2]
        again, sure = found_again(own.found, theirs.found)
        self._found_again += int(again.sum())
        self._theirs += int(sure.sum())

    def metrics(self) -> dict[str, float]:
        """``agreement``: percentage of the teacher's detections with a score of 0.3 and more that the detector has too, with such a score, of the
        same class, at an intersection over union of 0.5; 100 where the teacher has none. ``teacher_kl``: mean over places of the sum over classes of
        KL(teacher ‖ detector), in nats."""
        agreement = 100 * self._found_again / self._theirs if self._theirs else 100.0
        return {"agreement": agreement, "teacher_kl": self._divergence / max(1, self._places)}


def binary_divergence(reference: Tensor, logits: Tensor) -> Tensor:
    """KL of the Bernoulli distributions whose probabilities are the sigmoids of two logits, element by element, in nats."""
    sure, doubt = functional.logsigmoid(reference), functional.logsigmoid(-reference)
    return sure.exp() * (sure - functional.logsigmoid(logits)) + doubt.exp() * (doubt - functional.logsigmoid(-logits))


def found_again(found: Found, reference: Found) -> tuple[Tensor, Tensor]:
    """Which detections of a reference [B, K] another has too, and which of the reference's are sure enough to count."""
    sure = reference.scores >= SURE
    same = (reference.classes.unsqueeze(2) == found.classes.unsqueeze(1)) & (found.scores >= SURE).unsqueeze(1)
    overlapping = pairwise_iou(reference.boxes, found.boxes) >= SAME
    return (same & overlapping).any(dim=2) & sure, sure
