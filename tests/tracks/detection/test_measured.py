"""How far a detector is from a teacher, and where its boxes are in the original pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kdarena.tracks.detection.decode import Found
from kdarena.tracks.detection.measured import Answer, TeacherDistance, binary_divergence, in_pictures

SQUARE, HALF, FAR = [0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 6.0], [30.0, 30.0, 40.0, 40.0]


def found(*detections: tuple[list[float], float, int]) -> Found:
    boxes, scores, classes = (torch.tensor([list(values)]) for values in zip(*detections, strict=True))
    return Found(boxes, scores, classes, torch.tensor([len(detections)]))


def agreement(own: Found, theirs: Found) -> float:
    distance, logits = TeacherDistance(), torch.zeros(1, 2, 3)
    distance.add(Answer(logits, own), Answer(logits, theirs))
    return distance.metrics()["agreement"]


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        (found((SQUARE, 0.9, 1)), 50.0),
        (found((HALF, 0.4, 1), (FAR, 0.3, 2)), 100.0),
        (found((SQUARE, 0.2, 1)), 0.0),
        (found((SQUARE, 0.9, 2)), 0.0),
        (found((FAR, 0.9, 1)), 0.0),
    ],
    ids=["one of two", "at an overlap of 0.6", "not sure enough", "of another class", "elsewhere"],
)
def test_agreement_is_the_part_of_the_teachers_sure_detections_that_are_found_again(own: Found, wanted: float):
    assert agreement(own, found((SQUARE, 0.8, 1), (FAR, 0.5, 2), (SQUARE, 0.29, 0))) == wanted


def test_with_a_teacher_that_is_sure_of_nothing_all_agree():
    assert agreement(found((SQUARE, 0.9, 1)), found((SQUARE, 0.1, 1))) == 100


def test_divergence_is_the_sum_over_classes_in_the_mean_over_places():
    distance, nothing = TeacherDistance(), found((SQUARE, 0.0, 0))
    theirs, own = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    distance.add(Answer(own, nothing), Answer(theirs, nothing))
    p, q = theirs.sigmoid(), own.sigmoid()
    wanted = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum(dim=1).mean()
    assert distance.metrics()["teacher_kl"] == pytest.approx(float(wanted), rel=1e-4)


def test_divergence_of_far_logits_is_finite():
    assert bool(torch.isfinite(binary_divergence(torch.tensor([90.0, -90.0]), torch.tensor([-90.0, 90.0]))).all())


def test_detections_of_batches_are_in_the_pixels_of_the_original_pictures():
    batches = [found((SQUARE, 0.9, 1), (FAR, 0.5, 2)), found((HALF, 0.7, 0))]
    detections = in_pictures(batches, np.array([0.5, 2.0]))
    assert detections.boxes.shape == (2, 2, 4)
    assert detections.boxes[0, 1].tolist() == [60, 60, 80, 80]
    assert detections.boxes[1, 0].tolist() == [0, 0, 5, 3]
    assert (detections.count.tolist(), detections.classes.tolist()) == ([2, 1], [[1, 2], [0, 0]])
