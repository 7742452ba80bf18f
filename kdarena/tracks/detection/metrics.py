"""Metrics of detection: COCO's mean average precision by pycocotools, and how far scores are from how often they are right."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdarena.tracks.detection.data import CROWD, Truth
from kdarena.tracks.metrics import CALIBRATION_BINS

MOST = 100
"""Detections of a class of a picture that are looked at, those with the highest scores."""
EDGES = (32**2, 96**2)
"""Areas in square pixels between small, medium and large objects."""
ENDLESS = 1e10
LEAST_PROBABILITY = 1e-7
"""Scores are taken to be that far from 0 and 1 at least, so that no detection's likelihood is zero."""


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector found in N pictures, padded to K detections each.

    Attributes:
        boxes: x1, y1, x2, y2 in pixels of the original pictures [N, K, 4].
        scores: in [0, 1] [N, K].
        classes: from 0 [N, K].
        count: detections of each picture [N]; those behind are padding.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    count: np.ndarray


def box_metrics(detections: Detections, truth: Truth, classes: Sequence[str]) -> dict[str, float]:
    """COCO's metrics in percent, and the calibration of the scores.

    ``map`` is the mean over classes and over ten thresholds of the intersection over union, 0.5 to 0.95, of the average precision, whose
    precision is taken at 101 recalls; ``map50`` and ``map75`` are at one threshold; ``map_small``, ``map_medium`` and ``map_large`` look at objects
    of those sizes; ``map/CLASS`` at one class; ``ar100`` is the mean recall with at most 100 detections of a class in a picture. What has no
    object in the truth has no metric. ``detection_ece`` in percent and ``detection_nll`` in nats, see :func:`calibration`, are there where there are
    detections. Crowd regions make a detection neither right nor wrong.

    Args:
        detections: of N pictures.
        truth: of the same pictures.
        classes: names of the classes.

    Raises:
        ValueError: in one line: no box of the truth counts.
    """
    areas = truth.areas[(truth.boxes[..., 5] > 0) & (truth.boxes[..., 5] != CROWD)]
    if not len(areas):
        raise ValueError("no picture of this part has a box that counts, so that detections can't be scored; take a part with annotations")
    sizes = _sizes(areas)
    evaluation = _evaluated(detections, truth, len(classes), sizes)
    # thresholds, recalls, classes, sizes, numbers of detections; −1 where there is no truth
    precision, recall = evaluation.eval["precision"][..., 0], evaluation.eval["recall"][..., 0]
    metrics = {
        "map": _mean(precision[:, :, :, 0]),
        "map50": _mean(precision[0, :, :, 0]),
        "map75": _mean(precision[5, :, :, 0]),
        "ar100": _mean(recall[:, :, 0]),
        **{f"map_{name}": _mean(precision[:, :, :, number]) for number, name in enumerate(sizes) if name != "all"},
        **{f"map/{name}": _mean(precision[:, :, number, 0]) for number, name in enumerate(classes) if (recall[:, number, 0] > -1).all()},
    }
    scores, right = _matched(evaluation)
    return {**metrics, **(calibration(scores, right) if len(scores) else {})}


def calibration(scores: np.ndarray, right: np.ndarray, bins: int = CALIBRATION_BINS) -> dict[str, float]:
    """How far scores are from the share of detections that are right (Küppers et al. 2020, arXiv 2004.13546, by the score alone).

    ``detection_ece`` = Σ_b |D_b| / |D| · |share of D_b that is right − mean score of D_b| in percent, over detections D in bins of equal width that are open
    on the left; ``detection_nll`` = −mean (r · ln p + (1 − r) · ln(1 − p)) in nats.

    Args:
        scores: p of each detection [D].
        right: r, whether it has the class of an object and an intersection over union of 0.5 with it, each object being matched at
            most once, by the highest score [D].
    """
    bin_of = np.clip(np.ceil(scores * bins).astype(np.int64), 1, bins) - 1
    gaps = np.bincount(bin_of, right - scores, minlength=bins)
    sure = np.clip(scores, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    likelihood = np.where(right, np.log(sure), np.log1p(-sure))
    return {"detection_ece": 100 * float(np.abs(gaps).sum() / len(scores)), "detection_nll": -float(likelihood.mean())}


def _sizes(areas: np.ndarray) -> dict[str, tuple[float, float]]:
    """Smallest and largest area of each size of which there is an object; COCO counts an edge on both sides."""
    every = {"small": (0.0, EDGES[0]), "medium": EDGES, "large": (EDGES[1], ENDLESS)}
    there = {name: (low, high) for name, (low, high) in every.items() if ((areas >= low) & (areas <= high)).any()}
    return {"all": (0.0, ENDLESS), **there}


def _mean(values: np.ndarray) -> float:
    """Percentage of what has a value."""
    return 100 * float(values[values > -1].mean())


def _evaluated(detections: Detections, truth: Truth, classes: int, sizes: dict[str, tuple[float, float]]) -> Any:
    """pycocotools' evaluation, which prints nothing here."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    pictures = [{"id": number} for number in range(len(truth.boxes))]
    categories = [{"id": number} for number in range(classes)]
    with contextlib.redirect_stdout(io.StringIO()):
        tables = []
        for annotations in (_annotated(truth), _detected(detections)):
            tables.append(COCO())
            tables[-1].dataset = {"images": pictures, "categories": categories, "annotations": annotations}
            tables[-1].createIndex()
        evaluation = COCOeval(*tables, iouType="bbox")
        evaluation.params.maxDets = [MOST]
        evaluation.params.areaRngLbl, evaluation.params.areaRng = list(sizes), list(map(list, sizes.values()))
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _annotated(truth: Truth) -> list[dict[str, Any]]:
    flags = truth.boxes[..., 5]
    pictures, places = np.nonzero(flags > 0)
    boxes = truth.boxes[pictures, places]
    areas, crowd = truth.areas[pictures, places].tolist(), (boxes[:, 5] == CROWD).astype(int).tolist()
    rows = zip(_rows(pictures, boxes, boxes[:, 4]), areas, crowd, strict=True)
    return [{**row, "area": area, "iscrowd": is_crowd} for row, area, is_crowd in rows]


def _detected(detections: Detections) -> list[dict[str, Any]]:
    pictures, places = np.nonzero(np.arange(detections.scores.shape[1]) < detections.count[:, None])
    rows = _rows(pictures, detections.boxes[pictures, places], detections.classes[pictures, places])
    for row, score in zip(rows, detections.scores[pictures, places].astype(np.float64).tolist(), strict=True):
        _, _, width, height = row["bbox"]
        row["score"], row["area"] = score, width * height
    return rows


def _rows(pictures: np.ndarray, boxes: np.ndarray, classes: np.ndarray) -> list[dict[str, Any]]:
    """Annotations as COCO writes them; numbers begin at 1, since pycocotools takes 0 for no match."""
    corners = boxes[:, :4].astype(np.float64)
    sides = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1).tolist()
    columns = zip(pictures.tolist(), classes.astype(int).tolist(), sides, strict=True)
    return [{"id": number, "image_id": picture, "category_id": label, "bbox": box} for number, (picture, label, box) in enumerate(columns, 1)]


def _matched(evaluation: Any) -> tuple[np.ndarray, np.ndarray]:
    """Scores of all detections that count at the lowest threshold, and whether each is right."""
    whole = evaluation.params.areaRng[0]
    looked_at = [each for each in evaluation.evalImgs if each is not None and each["aRng"] == whole]
    if not looked_at:
        return np.empty(0), np.empty(0, bool)
    scores = np.concatenate([each["dtScores"] for each in looked_at])
    right, ignored = (np.concatenate([each[name][0].astype(bool) for each in looked_at]) for name in ("dtMatches", "dtIgnore"))
    return scores[~ignored], right[~ignored]
