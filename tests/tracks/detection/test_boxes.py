"""Overlaps of boxes, against one box at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdarena.tracks.detection.boxes import area, clip, giou, pairwise_iou

coordinate = st.floats(-50, 50, width=32)
extent = st.floats(0.5, 60, width=32)
box = st.tuples(coordinate, coordinate, extent, extent).map(lambda at: (at[0], at[1], at[0] + at[2], at[1] + at[3]))


def naive(a: tuple[float, ...], b: tuple[float, ...]) -> tuple[float, float]:
    """Intersection over union, and the generalised one, of two boxes."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = width * height if width > 0 and height > 0 else 0.0
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    around = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return common / union, common / union - (around - union) / around


@settings(max_examples=60, deadline=None)
@given(st.lists(box, min_size=1, max_size=5), st.lists(box, min_size=1, max_size=5))
def test_overlaps_of_all_pairs_are_those_of_one_pair_at_a_time(first, second):
    found = pairwise_iou(torch.tensor(first, dtype=torch.float64), torch.tensor(second, dtype=torch.float64))
    assert found.shape == (len(first), len(second))
    for row, one in enumerate(first):
        for column, other in enumerate(second):
            assert float(found[row, column]) == pytest.approx(naive(one, other)[0], abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(box, box)
def test_giou_is_that_of_its_definition_symmetric_and_at_most_the_overlap(first, second):
    one, other = torch.tensor(first, dtype=torch.float64), torch.tensor(second, dtype=torch.float64)
    found = float(giou(one, other))
    assert found == pytest.approx(naive(first, second)[1], abs=1e-9)
    assert found == pytest.approx(float(giou(other, one)), abs=1e-12)
    assert -1 < found <= float(pairwise_iou(one[None], other[None])) + 1e-12
    assert float(giou(one, one)) == pytest.approx(1)


@settings(max_examples=30, deadline=None)
@given(box, box, st.floats(0.25, 4), coordinate)
def test_giou_depends_on_neither_scale_nor_place(first, second, scale, shift):
    one, other = torch.tensor(first, dtype=torch.float64), torch.tensor(second, dtype=torch.float64)
    assert float(giou(one * scale + shift, other * scale + shift)) == pytest.approx(float(giou(one, other)), abs=1e-9)


def test_a_box_of_no_area_overlaps_nothing():
    flat = torch.tensor([[3.0, 3.0, 3.0, 9.0], [5.0, 5.0, 2.0, 2.0]])
    assert area(flat).tolist() == [0, 0]
    assert pairwise_iou(flat, torch.tensor([[0.0, 0.0, 10.0, 10.0], [3.0, 3.0, 3.0, 9.0]])).tolist() == [[0, 0], [0, 0]]


def test_boxes_are_clipped_to_height_and_width():
    boxes = torch.tensor([[[-3.0, -4.0, 50.0, 60.0], [10.0, 12.0, 18.0, 15.0]]])
    assert clip(boxes, torch.tensor([[20.0, 30.0]]).unsqueeze(1)).tolist() == [[[0, 0, 30, 20], [10, 12, 18, 15]]]
