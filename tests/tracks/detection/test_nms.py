"""Suppression of overlapping boxes, against a loop over boxes and torchvision's operator."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from kdarena.tracks.detection import nms
from kdarena.tracks.detection.boxes import pairwise_iou


def crowded(images: int, count: int, classes: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes in a heap, some with the same score, some padding."""
    random = torch.Generator().manual_seed(seed)
    corner = 20 * torch.rand(images, count, 2, generator=random)
    boxes = torch.cat([corner, corner + 5 + 15 * torch.rand(images, count, 2, generator=random)], dim=2)
    scores = (torch.rand(images, count, generator=random) * 20).round() / 20
    return boxes, scores, torch.randint(classes, (images, count), generator=random)


def naive(boxes: Tensor, scores: Tensor, classes: Tensor, threshold: float) -> Tensor:
    keep = torch.zeros_like(scores, dtype=torch.bool)
    for image in range(len(boxes)):
        order = sorted(range(boxes.shape[1]), key=lambda box: -float(scores[image, box]))
        for box in order:
            rivals = [other for other in order if keep[image, other] and classes[image, other] == classes[image, box]]
            overlaps = [float(pairwise_iou(boxes[image, [box]], boxes[image, [other]])) for other in rivals]
            keep[image, box] = bool(scores[image, box] > 0) and all(overlap <= threshold for overlap in overlaps)
    return keep


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.6, 1.0])
def test_the_same_boxes_are_kept_as_in_a_loop_over_boxes(threshold: float):
    boxes, scores, classes = crowded(images=4, count=25, classes=3, seed=int(10 * threshold))
    assert torch.equal(nms.by_torch(boxes, scores, classes, threshold), naive(boxes, scores, classes, threshold))


def test_a_suppressed_box_suppresses_nothing():
    chain = torch.tensor([[[0.0, 0.0, 10.0, 10.0], [0.0, 3.0, 10.0, 13.0], [0.0, 6.0, 10.0, 16.0], [0.0, 9.0, 10.0, 19.0]]])
    kept = nms.by_torch(chain, torch.tensor([[0.9, 0.8, 0.7, 0.6]]), torch.zeros(1, 4), 0.5)
    assert kept.tolist() == [[True, False, True, False]]


def test_images_are_the_same_alone_and_in_parts(monkeypatch: pytest.MonkeyPatch):
    boxes, scores, classes = crowded(images=5, count=30, classes=2, seed=3)
    together = nms.by_torch(boxes, scores, classes, 0.4)
    monkeypatch.setattr(nms, "PAIRS", 1)
    assert torch.equal(nms.by_torch(boxes, scores, classes, 0.4), together)


def test_no_boxes_are_none():
    assert nms.batched_nms(torch.zeros(2, 0, 4), torch.zeros(2, 0), torch.zeros(2, 0), 0.5).shape == (2, 0)


def test_an_operator_that_is_called_image_by_image_gives_the_same(monkeypatch: pytest.MonkeyPatch):
    """In the place of torchvision's, whose semantics are these: indices of the kept boxes of an image, the highest score first, classes unknown."""

    def operator(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
        kept = naive(boxes[None], scores[None] + 1, torch.zeros(1, len(boxes)), threshold)[0].nonzero()[:, 0]
        return kept[scores[kept].argsort(descending=True)]

    monkeypatch.setattr(nms, "has_operator", lambda device: True)
    monkeypatch.setattr(nms, "import_torchvision", lambda: SimpleNamespace(ops=SimpleNamespace(nms=operator)))
    boxes, scores, classes = crowded(images=3, count=20, classes=3, seed=5)
    assert torch.equal(nms.batched_nms(boxes, scores, classes, 0.3), naive(boxes, scores, classes, 0.3))


@pytest.mark.skipif(not nms.has_operator("cpu"), reason="torchvision's compiled operators are not there")
def test_torchvisions_operator_keeps_the_same_boxes():
    boxes, scores, classes = crowded(images=4, count=60, classes=3, seed=1)
    assert torch.equal(nms.batched_nms(boxes, scores, classes, 0.5), nms.by_torch(boxes, scores, classes, 0.5))
