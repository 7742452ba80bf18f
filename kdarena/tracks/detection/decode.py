"""What a detector found, from what it says of each place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from kdarena.tracks.detection.boxes import clip
from kdarena.tracks.detection.nms import batched_nms
from kdarena.tracks.detection.targets import Places


@dataclass(frozen=True)
class Decoding:
    """How detections are chosen. The numbers are those of the paper's code, what they are of is ours.

    There candidates are those of each level, and the threshold is of the class's score alone; here both are of all levels, and of the score that
    detections are ranked by, :func:`scores_of_classes`.

    Attributes:
        threshold: scores of detections are above it.
        candidates: how many pairs of a place and a class of an image are looked at, those with the highest scores; never more than there are places.
        overlap: of two boxes of a class that overlap by more, the one with the lower score is left out.
        most: detections of an image.
    """

    threshold: float = 0.05
    candidates: int = 1000
    overlap: float = 0.6
    most: int = 100


@dataclass(frozen=True)
class Found:
    """Detections of N images from the highest score down, padded with zeros to the largest number K of one.

    Attributes:
        boxes: [N, K, 4] in pixels.
        scores: [N, K] in [0, 1].
        classes: [N, K].
        count: [N].
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor
    count: Tensor


def corners(distances: Tensor, places: Places) -> Tensor:
    """Boxes [B, P, 4] in pixels from distances [B, 4, P] in strides; no side lies before its opposite."""
    sides = distances * places.stride
    left, top, right, bottom = sides.unbind(1)
    return torch.stack([places.x - left, places.y - top, places.x + right, places.y + bottom], dim=2)


def scores_of_classes(logits: Tensor, centre: Tensor) -> Tensor:
    """sqrt(σ(z) · σ(centre-ness)) [B, C, P] of logits [B, C, P] and centre-ness logits [B, P] (the improved version's score)."""
    return ((functional.logsigmoid(logits) + functional.logsigmoid(centre).unsqueeze(1)) / 2).exp()


def decoded(logits: Tensor, boxes: Tensor, places: Places, size: Tensor, how: Decoding | None = None) -> Found:
    """The detections of images.

    Args:
        logits: of the classes [B, C, P].
        boxes: distances and centre-ness [B, 5, P].
        places: of the images.
        size: rows and columns of each image's own pixels [B, 2], without what it was padded with; boxes are clipped to them.
        how: they are chosen.
    """
    how = how or Decoding()
    scores = scores_of_classes(logits, boxes[:, 4])
    best, at = scores.flatten(1).topk(min(how.candidates, scores.shape[2]), dim=1)
    best = best.masked_fill(best <= how.threshold, 0)
    # no image has more
    candidates = max(1, int((best > 0).sum(dim=1).amax()))
    best, at = best[:, :candidates], at[:, :candidates]
    classes, place = at // scores.shape[2], at % scores.shape[2]
    every = corners(boxes[:, :4], places)
    chosen = clip(every.gather(1, place.unsqueeze(-1).expand(-1, -1, 4)), size.unsqueeze(1))
    kept = best * batched_nms(chosen, best, classes, how.overlap)
    final, order = kept.sort(dim=1, descending=True, stable=True)
    final, order = final[:, : how.most], order[:, : how.most]
    real = final > 0
    boxes_of = chosen.gather(1, order.unsqueeze(-1).expand(-1, -1, 4)) * real.unsqueeze(-1)
    return Found(boxes_of, final, classes.gather(1, order) * real, real.sum(dim=1))
