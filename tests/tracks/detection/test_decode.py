"""Detections from what a network says of each place."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kdarena.tracks.detection.decode import Decoding, corners, decoded, scores_of_classes
from kdarena.tracks.detection.pyramid import Pyramid
from kdarena.tracks.detection.targets import Places, assign, centre_ness

PYRAMID = Pyramid((4, 8, 16))
PLACES = Places.of(PYRAMID, (64, 64), torch.device("cpu"))
WHOLE = torch.full((1, 2), 64.0)


def answer(*said: tuple[int, int, float, list[float]]) -> tuple[Tensor, Tensor]:
    """Logits and boxes of one image where (place, class, score's logit, distances in strides) is said, and nothing of the other places."""
    logits, boxes = torch.full((1, 3, len(PLACES.x)), -20.0), torch.full((1, 5, len(PLACES.x)), 1.0)
    boxes[:, 4] = 20
    for place, label, logit, distances in said:
        logits[0, label, place] = logit
        boxes[0, :4, place] = torch.tensor(distances)
    return logits, boxes


def test_perfect_outputs_give_the_boxes_back(random_targets: Callable[..., Tensor]):
    targets = random_targets(batch=4, lines=6, seed=2)
    assigned = assign(PLACES, targets)
    logits = torch.full((4, 4, len(PLACES.x)), -20.0)
    logits.scatter_(1, assigned.classes.clamp(min=0).unsqueeze(1), torch.where(assigned.positive, 20.0, -20.0).unsqueeze(1))
    boxes = torch.cat([assigned.distances, torch.logit(centre_ness(assigned.distances).clamp(1e-4, 1 - 1e-4)).unsqueeze(1)], dim=1)
    found = decoded(logits, boxes, PLACES, torch.full((4, 2), 64.0), Decoding(overlap=0.99))
    for image in range(4):
        has_place = [row for row in targets[image].tolist() if row[5] == 1 and any(places_of(row, assigned.distances[image, :, assigned.positive[image]]))]
        own = torch.cat([found.boxes[image], found.classes[image].unsqueeze(1)], dim=1)[: int(found.count[image])]
        assert {rounded(row) for row in own.tolist()} == {rounded(row[:5]) for row in has_place}


def places_of(row: list[float], distances: Tensor) -> list[bool]:
    """Which places [4, N] have a box of the same width and height."""
    sizes = distances[:2] + distances[2:]
    return [any(abs(stride * w - row[2] + row[0]) + abs(stride * h - row[3] + row[1]) < 1e-3 for stride in PYRAMID.strides) for w, h in sizes.T.tolist()]


def rounded(row: list[float]) -> tuple[float, ...]:
    return tuple(round(value, 2) for value in row)


def test_the_score_is_the_root_of_class_times_centre_ness():
    logits, boxes = answer((5, 1, 0.0, [1, 1, 1, 1]))
    boxes[0, 4, 5] = 1.0
    wanted = (0.5 * float(torch.tensor(1.0).sigmoid())) ** 0.5
    assert float(scores_of_classes(logits, boxes[:, 4])[0, 1, 5]) == pytest.approx(wanted)
    found = decoded(logits, boxes, PLACES, WHOLE)
    assert found.count.tolist() == [1]
    assert (float(found.scores[0, 0]), int(found.classes[0, 0])) == (pytest.approx(wanted), 1)
    assert found.boxes[0, 0].tolist() == [18, 0, 26, 6]  # of the place at (22, 2), clipped at the upper edge


def test_boxes_of_a_class_that_overlap_leave_the_surest_and_another_class_stays():
    logits, boxes = answer((20, 0, 3.0, [2, 2, 2, 2]), (21, 0, 2.0, [3, 2, 1, 2]), (22, 2, 1.0, [4, 2, 0, 2]))
    found = decoded(logits, boxes, PLACES, WHOLE)
    assert found.count.tolist() == [2]
    assert found.classes[0, :2].tolist() == [0, 2]
    assert bool((found.scores[0, :1] > found.scores[0, 1:2]).all())


def test_no_image_has_more_detections_than_are_allowed_and_padding_is_zero():
    random = torch.Generator().manual_seed(0)
    logits, boxes = torch.randn(2, 3, len(PLACES.x), generator=random), torch.rand(2, 5, len(PLACES.x), generator=random)
    logits[1] = -20
    found = decoded(logits, boxes, PLACES, WHOLE.expand(2, 2), Decoding(most=7))
    assert found.scores.shape == (2, 7)
    assert found.count.tolist() == [7, 0]
    assert float(found.boxes[1].abs().sum() + found.scores[1].sum()) == 0


def test_of_more_than_100_detections_the_surest_are_left():
    logits, boxes = torch.linspace(0, 3, len(PLACES.x)).view(1, 1, -1), torch.full((1, 5, len(PLACES.x)), 0.4)
    found = decoded(logits, boxes, PLACES, WHOLE)  # boxes of neighbours have nothing in common
    assert found.count.tolist() == [100] and found.boxes.shape == (1, 100, 4)
    assert torch.equal(found.scores, found.scores.sort(descending=True).values)
    assert float(found.scores[0, -1]) == float(scores_of_classes(logits, boxes[:, 4])[0, 0].topk(100).values[-1])


def test_images_are_clipped_to_their_own_size_without_their_padding():
    logits, boxes = answer((40, 0, 3.0, [9, 9, 99, 99]))
    assert decoded(logits, boxes, PLACES, torch.tensor([[30.0, 50.0]])).boxes[0, 0, 2:].tolist() == [50, 30]


def test_corners_invert_distances():
    distances = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1).expand(1, 4, len(PLACES.x))
    first = corners(distances, PLACES)[0, 0].tolist()
    assert first == [2 - 4, 2 - 8, 2 + 12, 2 + 16]
