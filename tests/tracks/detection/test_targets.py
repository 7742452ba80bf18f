"""FCOS's assignment, against loops over images, boxes and places."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kdarena.tracks.detection.pyramid import Pyramid
from kdarena.tracks.detection.targets import LEFT_OUT, NONE, Places, assign, centre_ness

PYRAMID = Pyramid((4, 8, 16))
RANGES = ((0, 32), (32, 64), (64, math.inf))


def naive(boxes: list[list[float]], x: float, y: float, stride: int, level: int) -> tuple[int, list[float] | None]:
    """Class of a place, and the distances to the sides of its box in strides."""
    best, found, crowded = math.inf, (NONE, None), False
    for x1, y1, x2, y2, label, flag in boxes:
        distances = [x - x1, y - y1, x2 - x, y2 - y]
        if flag == 0 or min(distances) <= 0:
            continue
        if flag == 2:
            crowded = True
            continue
        near = abs(x - (x1 + x2) / 2) < 1.5 * stride and abs(y - (y1 + y2) / 2) < 1.5 * stride
        size = (x2 - x1) * (y2 - y1)
        if near and RANGES[level][0] <= max(distances) <= RANGES[level][1] and size < best:
            best, found = size, (int(label), [distance / stride for distance in distances])
    return (LEFT_OUT, None) if found[0] == NONE and crowded else found


def test_places_are_at_the_middle_of_their_cells_level_after_level_line_by_line():
    places = Places.of(PYRAMID, (20, 28), torch.device("cpu"))
    assert PYRAMID.grids((20, 28)) == ((5, 7), (3, 4), (2, 2))
    assert len(places.x) == PYRAMID.places((20, 28)) == 35 + 12 + 4
    wanted = [(4 * (column + 0.5), 4 * (row + 0.5)) for row in range(5) for column in range(7)]
    assert list(zip(places.x[:35].tolist(), places.y[:35].tolist(), strict=True)) == wanted
    assert places.stride[35:].tolist() == [8] * 12 + [16] * 4
    assert (places.low[0], places.high[0], places.low[-1]) == (0, 32, 64)


def test_torchvisions_places_begin_at_the_edge():
    assert Places.of(Pyramid((8, 16), offset=0), (16, 16), torch.device("cpu")).x.tolist() == [0, 8, 0, 8, 0]


def test_levels_are_named_by_their_stride():
    assert (PYRAMID.names, PYRAMID.bounds) == (("p2", "p3", "p4"), (32, 64))


@pytest.mark.parametrize("seed", range(3))
def test_each_place_gets_the_box_that_loops_over_boxes_and_places_give_it(random_targets: Callable[..., Tensor], seed: int):
    targets = random_targets(batch=3, lines=8, seed=seed)
    places = Places.of(PYRAMID, (64, 64), torch.device("cpu"))
    found = assign(places, targets)
    levels = [level for level, (rows, columns) in enumerate(PYRAMID.grids((64, 64))) for _ in range(rows * columns)]
    kinds = set()
    for image, boxes in enumerate(targets.tolist()):
        for place, level in enumerate(levels):
            x, y, stride = (float(values[place]) for values in (places.x, places.y, places.stride))
            label, distances = naive(boxes, x, y, int(stride), level)
            kinds.add((level, min(label, 0)))
            assert int(found.classes[image, place]) == label
            assert bool(found.positive[image, place]) == (distances is not None)
            if distances is not None:
                assert found.distances[image, :, place].tolist() == pytest.approx(distances, abs=1e-5)
    assert {(0, 0), (1, 0), (0, NONE), (0, LEFT_OUT)} <= kinds  # each kind of place was seen


def test_a_place_of_a_box_counts_although_a_crowd_region_is_around_it():
    targets = torch.tensor([[[8.0, 8.0, 24.0, 24.0, 3.0, 1.0], [0.0, 0.0, 64.0, 64.0, 5.0, 2.0]]])
    classes = assign(Places.of(PYRAMID, (64, 64), torch.device("cpu")), targets).classes
    assert set(classes.unique().tolist()) == {3, LEFT_OUT}


def test_an_image_without_boxes_has_none_to_give():
    assigned = assign(Places.of(PYRAMID, (32, 32), torch.device("cpu")), torch.zeros(2, 3, 6))
    assert bool((assigned.classes == NONE).all()) and not bool(assigned.positive.any())


def test_centre_ness_is_that_of_equation_3_and_zero_outside():
    distances = torch.tensor([[[2.0, 1.0, -1.0], [3.0, 2.0, 1.0], [2.0, 4.0, 5.0], [3.0, 8.0, 1.0]]])
    wanted = [1.0, math.sqrt((1 / 4) * (2 / 8)), 0.0]
    assert centre_ness(distances)[0].tolist() == pytest.approx(wanted)
