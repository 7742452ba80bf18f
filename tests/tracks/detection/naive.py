"""COCO's metrics from their definition, one detection at a time (https://cocodataset.org/#detection-eval)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)


@dataclass
class Object:
    """An object of a picture."""

    box: Sequence[float]
    label: int
    crowd: bool
    area: float


@dataclass
class Detection:
    """A detection in a picture."""

    box: Sequence[float]
    label: int
    score: float


def overlap(found: Sequence[float], box: Sequence[float], crowd: bool) -> float:
    """Intersection over union; with a crowd region over the detection's own area."""
    width = min(found[2], box[2]) - max(found[0], box[0])
    height = min(found[3], box[3]) - max(found[1], box[1])
    both = max(0.0, width) * max(0.0, height)
    own, other = ((each[2] - each[0]) * (each[3] - each[1]) for each in (found, box))
    return both / (own if crowd else own + other - both)


def judged(objects: Sequence[Object], detections: Sequence[Detection], threshold: float, sizes: tuple[float, float]) -> list[tuple[float, bool]]:
    """Scores of one class's detections in one picture that count, and whether each is right."""
    taken: set[int] = set()
    judgements = []
    for found in sorted(detections, key=lambda each: -each.score):
        best = None
        for wanted in (False, True):  # objects that count come before those that are ignored
            for number, item in enumerate(objects):
                ignored = item.crowd or not sizes[0] <= item.area <= sizes[1]
                if ignored is not wanted or (number in taken and not item.crowd):
                    continue
                value = overlap(found.box, item.box, item.crowd)
                if value >= threshold and (best is None or value > best[0]):
                    best = value, number, ignored
            if best is not None:
                break
        if best is None:
            area = (found.box[2] - found.box[0]) * (found.box[3] - found.box[1])
            if sizes[0] <= area <= sizes[1]:
                judgements.append((found.score, False))
            continue
        taken.add(best[1])
        if not best[2]:
            judgements.append((found.score, True))
    return judgements


def average_precision(
    pictures: Sequence[tuple[Sequence[Object], Sequence[Detection]]], label: int, threshold: float, sizes: tuple[float, float] = (0, 1e10)
) -> tuple[float, float] | None:
    """Average precision and recall of a class, or None where it has no object."""
    judgements, objects_of_class = [], 0
    for every, detections in pictures:
        objects = [item for item in every if item.label == label]
        objects_of_class += sum(not item.crowd and sizes[0] <= item.area <= sizes[1] for item in objects)
        judgements += judged(objects, [found for found in detections if found.label == label], threshold, sizes)
    if not objects_of_class:
        return None
    judgements.sort(key=lambda each: -each[0])
    curve, right = [], 0
    for number, (_, is_right) in enumerate(judgements, 1):
        right += is_right
        curve.append((right / objects_of_class, right / number))
    precision = [max((p for r, p in curve if r >= recall), default=0.0) for recall in RECALLS]
    return sum(precision) / len(RECALLS), right / objects_of_class


def calibration(scores: Sequence[float], right: Sequence[bool], bins: int) -> tuple[float, float]:
    """Expected calibration error in percent and negative log-likelihood in nats, detection by detection."""
    error = 0.0
    for number in range(bins):
        members = [row for row, score in enumerate(scores) if number / bins < score <= (number + 1) / bins or (number == 0 and score == 0)]
        if members:
            accuracy = sum(right[row] for row in members) / len(members)
            confidence = sum(scores[row] for row in members) / len(members)
            error += len(members) / len(scores) * abs(accuracy - confidence)
    likelihood = sum(-np.log(score if is_right else 1 - score) for score, is_right in zip(scores, right, strict=True)) / len(scores)
    return 100 * error, float(likelihood)
