"""Metrics of detection: those of a naive loop, and of cases made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from tracks.detection import naive
from tracks.detection.naive import Detection, Object

from kdarena.tracks.detection.data import Truth
from kdarena.tracks.detection.metrics import Detections, box_metrics, calibration

SIZES = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}
CLASSES = ("bird", "cat", "dog")
BOX = (10.0, 10.0, 30.0, 40.0)
Picture = tuple[list[Object], list[Detection]]


def _measured(pictures: list[Picture], classes: tuple[str, ...] = CLASSES) -> dict[str, float]:
    most = max(1, *(len(objects) for objects, _ in pictures))
    boxes, areas = np.zeros((len(pictures), most, 6), np.float32), np.zeros((len(pictures), most))
    found = max(1, *(len(detections) for _, detections in pictures))
    # what is behind the count of a picture may not be looked at
    places, scores, labels = np.full((len(pictures), found, 4), 7.0), np.full((len(pictures), found), 0.99), np.zeros((len(pictures), found), int)
    for number, (objects, detections) in enumerate(pictures):
        for place, item in enumerate(objects):
            boxes[number, place] = *item.box, item.label, 2 if item.crowd else 1
            areas[number, place] = item.area
        for place, detection in enumerate(detections):
            places[number, place], scores[number, place], labels[number, place] = detection.box, detection.score, detection.label
    count = np.array([len(detections) for _, detections in pictures])
    return box_metrics(Detections(places, scores, labels, count), Truth(boxes, areas), classes)


def _object(box: tuple[float, ...] = BOX, label: int = 0, crowd: bool = False) -> Object:
    return Object(box, label, crowd, (box[2] - box[0]) * (box[3] - box[1]))


def _found(box: tuple[float, ...] = BOX, label: int = 0, score: float = 0.9) -> Detection:
    return Detection(box, label, score)


def _random_pictures(seed: int) -> list[Picture]:
    random, pictures = np.random.default_rng(seed), []
    for _ in range(12):
        objects, detections = [], []
        for _ in range(random.integers(0, 6)):
            # whole numbers, which float32 holds exactly
            x, y = random.integers(0, 300, 2)
            width, height = random.integers(4, 150, 2)
            box = (float(x), float(y), float(x + width), float(y + height))
            objects.append(_object(box, int(random.integers(3)), crowd=bool(random.random() < 0.2)))
            for _ in range(random.integers(0, 4)):
                near = np.array(box) + random.normal(0, 0.06 * min(width, height), 4)
                label = objects[-1].label if random.random() < 0.8 else int(random.integers(3))
                detections.append(Detection(tuple(near), label, float(random.random())))
        pictures.append((objects, detections))
    return pictures


@pytest.mark.parametrize("seed", range(5))
def test_every_metric_is_that_of_a_naive_loop(seed: int):
    pictures = _random_pictures(seed)
    measured = _measured(pictures)

    def mean(thresholds: np.ndarray, labels: range = range(3), sizes: tuple[float, float] = (0, 1e10), which: int = 0) -> float:
        values = [naive.average_precision(pictures, label, threshold, sizes) for label in labels for threshold in thresholds]
        return 100 * float(np.mean([value[which] for value in values if value is not None]))

    expected = {
        "map": mean(naive.THRESHOLDS),
        "map50": mean(naive.THRESHOLDS[:1]),
        "map75": mean(naive.THRESHOLDS[5:6]),
        "ar100": mean(naive.THRESHOLDS, which=1),
        **{f"map_{name}": mean(naive.THRESHOLDS, sizes=sizes) for name, sizes in SIZES.items()},
        **{f"map/{name}": mean(naive.THRESHOLDS, range(number, number + 1)) for number, name in enumerate(CLASSES)},
    }
    judgements = [
        judgement
        for objects, detections in pictures
        for label in range(3)
        for judgement in naive.judged([o for o in objects if o.label == label], [d for d in detections if d.label == label], 0.5, (0, 1e10))
    ]
    expected["detection_ece"], expected["detection_nll"] = naive.calibration(*zip(*judgements, strict=True), bins=15)
    assert measured == pytest.approx(expected, abs=1e-6)


def test_a_perfect_detector_has_100_percent_in_everything():
    pictures = [([_object(), _object((50, 50, 60, 60), 2)], [_found(score=1.0), _found((50, 50, 60, 60), 2, 1.0)])]
    measured = _measured(pictures)
    assert measured.pop("detection_ece") == 0 and measured.pop("detection_nll") == pytest.approx(0, abs=1e-6)
    assert measured == pytest.approx(dict.fromkeys(("map", "map50", "map75", "ar100", "map_small", "map/bird", "map/dog"), 100))


def test_no_detections_have_0_and_no_calibration():
    measured = _measured([([_object()], [])])
    assert measured == {"map": 0, "map50": 0, "map75": 0, "ar100": 0, "map_small": 0, "map/bird": 0}


def test_a_wrong_class_is_wrong():
    measured = _measured([([_object(label=1)], [_found(label=0)])])
    assert measured["map"] == 0
    assert measured["detection_nll"] == pytest.approx(-np.log(0.1))


def test_a_second_detection_of_an_object_is_wrong_and_costs_nothing_behind_the_last_right_one():
    pictures = [([_object()], [_found(score=0.9), _found(score=0.8)])]
    assert _measured(pictures)["map"] == pytest.approx(100)
    other = ([_object()], [_found(score=0.7)])
    # right, wrong, right: precision 1 up to a recall of 0.5, then 2/3
    assert _measured([*pictures, other])["map50"] == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)


def test_precision_is_taken_at_101_recalls_as_the_highest_at_that_recall_or_above():
    objects = [_object((20.0 * number, 0, 20.0 * number + 10, 10)) for number in range(4)]
    found = [_found(objects[0].box, score=0.9), _found((0, 100, 9, 109), score=0.8), _found(objects[1].box, score=0.7), _found(objects[2].box, score=0.6)]
    # precisions 1, 1/2, 2/3, 3/4 at recalls 1/4, 1/4, 2/4, 3/4
    assert _measured([(objects, found)])["map50"] == pytest.approx(100 * (26 + 50 * 0.75) / 101)


def test_detections_in_a_crowd_region_of_their_class_are_neither_right_nor_wrong():
    crowd = _object((100, 100, 200, 200), crowd=True)
    inside = [_found((110, 110, 120, 130), score=0.95), _found((150, 150, 190, 190), score=0.97)]
    measured = _measured([([_object(), crowd], [_found(), *inside])])
    assert measured["map"] == pytest.approx(100)
    assert measured["detection_nll"] == pytest.approx(-np.log(0.9))
    assert _measured([([_object(), _object((100, 100, 200, 200), 1, crowd=True)], [_found(), *inside])])["map"] < 100


def test_sizes_are_by_the_area_of_the_object_and_a_size_without_objects_has_no_metric():
    measured = _measured([([Object((0, 0, 50, 50), 0, False, 900)], [_found((0, 0, 50, 50))])])
    assert measured["map_small"] == pytest.approx(100)
    assert "map_medium" not in measured and "map_large" not in measured


def test_a_truth_without_boxes_that_count_is_refused():
    with pytest.raises(ValueError, match="no picture of this part has a box that counts"):
        _measured([([_object(crowd=True)], [_found()])])


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]):
    _measured([([_object()], [_found()])])
    assert capsys.readouterr() == ("", "")


def test_certain_and_wrong_scores_have_a_finite_likelihood():
    measured = calibration(np.array([1.0, 0.0]), np.array([False, True]))
    assert measured == pytest.approx({"detection_ece": 100, "detection_nll": -np.log(1e-7)})
