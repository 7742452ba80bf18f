"""Detection losses, against the printed formulas one element at a time."""

from __future__ import annotations

import math

import pytest
import torch

from kdarena.tracks.detection.boxes import giou
from kdarena.tracks.detection.losses import detection_loss, focal_loss, giou_of_distances
from kdarena.tracks.detection.targets import LEFT_OUT, NONE, Assigned


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def focal(z: float, label: float) -> float:
    """−α_t (1 − p_t)^γ ln p_t."""
    p_t, alpha_t = (sigmoid(z), 0.25) if label else (1 - sigmoid(z), 0.75)
    return -alpha_t * (1 - p_t) ** 2 * math.log(p_t)


def test_focal_loss_is_that_of_the_printed_formula():
    logits = torch.tensor([-6.0, -1.0, 0.0, 0.5, 4.0], dtype=torch.float64).repeat(2, 1)
    labels = torch.tensor([[0.0], [1.0]], dtype=torch.float64).expand(2, 5)
    wanted = [focal(z, label) for z, label in zip(logits.flatten().tolist(), labels.flatten().tolist(), strict=True)]
    assert focal_loss(logits, labels).flatten().tolist() == pytest.approx(wanted)


def test_focal_loss_and_its_gradient_are_finite_for_any_logit():
    logits = torch.tensor([-200.0, -30.0, 0.0, 30.0, 200.0]).repeat(2, 1).requires_grad_()
    focal_loss(logits, torch.tensor([[0.0], [1.0]]).expand(2, 5)).sum().backward()
    assert bool(torch.isfinite(logits.grad).all())


def test_giou_of_distances_is_that_of_the_boxes_around_the_place():
    random = torch.Generator().manual_seed(0)
    own, wanted = (0.1 + 5 * torch.rand(2, 4, 7, generator=random, dtype=torch.float64) for _ in range(2))
    boxes = [torch.cat([3 - sides[:, :2], 3 + sides[:, 2:]], dim=1).transpose(1, 2) for sides in (own, wanted)]
    assert torch.allclose(giou_of_distances(own, wanted), giou(*boxes))


def test_the_loss_is_the_sum_of_three_over_what_counts():
    """Two places with a box, one without, one that doesn't count, of two images."""
    random = torch.Generator().manual_seed(1)
    scores, boxes = torch.randn(2, 3, 4, generator=random), torch.randn(2, 5, 4, generator=random)
    boxes[:, :4] = boxes[:, :4].exp()
    classes = torch.tensor([[2, NONE, LEFT_OUT, 0], [NONE, NONE, 1, LEFT_OUT]])
    distances = torch.rand(2, 4, 4, generator=random) + 0.5
    assigned = Assigned(classes, distances, classes >= 0)
    of_classes = of_boxes = of_centres = weights = positives = 0.0
    for image in range(2):
        for place in range(4):
            label = int(classes[image, place])
            if label != LEFT_OUT:
                of_classes += sum(focal(float(scores[image, number, place]), float(number == label)) for number in range(3))
            if label >= 0:
                left, top, right, bottom = distances[image, :, place].tolist()
                centred = math.sqrt(min(left, right) / max(left, right) * min(top, bottom) / max(top, bottom))
                z = float(boxes[image, 4, place])
                of_centres -= centred * math.log(sigmoid(z)) + (1 - centred) * math.log(1 - sigmoid(z))
                sides = [torch.cat([-one[:2], one[2:]]) for one in (boxes[image, :4, place], distances[image, :, place])]
                of_boxes += centred * (1 - float(giou(*sides)))
                weights += centred
                positives += 1
    wanted = of_classes / positives + of_boxes / weights + of_centres / positives
    assert float(detection_loss(scores, boxes, assigned)) == pytest.approx(wanted, rel=1e-5)


def test_without_any_box_the_loss_is_that_of_the_classes_and_no_gradient_reaches_the_boxes():
    scores, boxes = torch.zeros(1, 2, 5, requires_grad=True), torch.ones(1, 5, 5, requires_grad=True)
    loss = detection_loss(scores, boxes, Assigned(torch.full((1, 5), NONE), torch.full((1, 4, 5), -3.0), torch.zeros(1, 5, dtype=torch.bool)))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(10 * focal(0, 0))
    assert float(boxes.grad.abs().sum()) == 0 and float(scores.grad.abs().sum()) > 0
