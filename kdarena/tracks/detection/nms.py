"""Non-maximum suppression of many images at once."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from kdarena.tracks.detection.boxes import pairwise_iou
from kdarena.tracks.torchvision import import_torchvision

PAIRS = 2**22
"""Pairs of boxes that are compared at once."""


def batched_nms(boxes: Tensor, scores: Tensor, classes: Tensor, threshold: float) -> Tensor:
    """Which boxes of each image are kept: from the highest score down, each that overlaps no kept one of its class by more than the threshold.

    By torchvision's operator where its compiled operators are there for the device, and in torch alone where they are not; both keep the same
    boxes, but for those that overlap by the threshold to within rounding. Of equal scores the earlier box goes first.

    Args:
        boxes: [N, K, 4].
        scores: [N, K]; boxes whose score is not above 0 are padding, and are not kept.
        classes: [N, K].
        threshold: of the intersection over union.

    Returns:
        booleans [N, K].
    """
    suppress = _by_torchvision if has_operator(boxes.device.type) else by_torch
    return suppress(boxes.float(), scores.float(), classes, threshold)


@functools.cache
def has_operator(device: str) -> bool:
    """Whether torchvision's operator can be called on a kind of device."""
    try:
        suppress = import_torchvision().ops.nms
        suppress(torch.zeros(1, 4, device=device), torch.zeros(1, device=device), 0.5)
    except (ImportError, NotImplementedError, RuntimeError):
        return False
    return True


def _by_torchvision(boxes: Tensor, scores: Tensor, classes: Tensor, threshold: float) -> Tensor:
    suppress = import_torchvision().ops.nms
    # boxes of different classes are put so far apart that none overlaps another's; in double precision, so that overlaps stay what they are
    boxes, scores = boxes.double(), scores.double()
    apart = classes.double().unsqueeze(-1) * (boxes.amax() - boxes.amin() + 1)
    keep = torch.zeros_like(scores, dtype=torch.bool)
    for image, moved in enumerate(boxes + apart):
        keep[image, suppress(moved, scores[image], threshold)] = True
    return keep & (scores > 0)


def by_torch(boxes: Tensor, scores: Tensor, classes: Tensor, threshold: float) -> Tensor:
    """The same in torch alone; see :func:`batched_nms`."""
    order = scores.argsort(dim=1, descending=True, stable=True)
    sides, sorted_classes, real = (
        boxes.gather(1, order.unsqueeze(-1).expand(-1, -1, 4)),
        classes.gather(1, order),
        scores.gather(1, order) > 0,
    )
    images = max(1, PAIRS // max(1, scores.shape[1] ** 2))
    parts = zip(sides.split(images), sorted_classes.split(images), real.split(images), strict=True)
    kept = torch.cat([_kept(*part, threshold) for part in parts])
    return torch.zeros_like(kept).scatter(1, order, kept)


def _kept(boxes: Tensor, classes: Tensor, real: Tensor, threshold: float) -> Tensor:
    """Of boxes from the highest score down, which are kept [N, K].

    A box is kept where no kept box before it suppresses it. That is repeated, from all that are real, until nothing changes: after k rounds the
    first k boxes are as in a loop over boxes, and a few rounds are enough, as many as the longest chain of boxes of which each suppresses the next.
    """
    suppresses = (pairwise_iou(boxes, boxes) > threshold) & (classes.unsqueeze(2) == classes.unsqueeze(1))
    suppresses = suppresses.triu_(diagonal=1).float()
    keep = real
    while True:
        suppressed = torch.bmm(keep.float().unsqueeze(1), suppresses).squeeze(1) > 0
        again = real & ~suppressed
        if torch.equal(again, keep):
            return keep
        keep = again
