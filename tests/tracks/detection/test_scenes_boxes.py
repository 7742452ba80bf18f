"""The embedded scenes with boxes: frozen, drawn tightly around what is seen, and nothing shared among the parts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from kdarena.tracks.detection import scenes_boxes
from kdarena.tracks.detection.data import COUNTED, CROWD
from kdarena.tracks.segmentation import scenes

PARTS = ("train", "validation", "test")


def test_pixels_and_boxes_are_those_of_always():
    assert scenes_boxes.digest() == "34282538739182d3"


def test_the_scenes_with_labels_and_distances_are_those_of_always():
    assert scenes.digest() == "c7cf2ca107dc901e"


def test_a_set_has_the_promised_sizes_and_types():
    found = scenes_boxes.read()
    assert (len(found.train), len(found.test)) == (512 + 96, 192) and found.fixed_validation
    for part in (found.train, found.test):
        images, boxes = part.read(range(3))
        assert images.shape == (3, 64, 64, 3) and images.dtype == np.uint8
        assert boxes.shape == (3, found.most, 6) and boxes.dtype == np.float32


def test_every_box_is_within_its_picture_and_has_an_area():
    for part in scenes_boxes.load().values():
        x1, y1, x2, y2 = part.boxes[part.boxes[..., 5] > 0][:, :4].T
        assert x1.min() >= 0 and y1.min() >= 0 and x2.max() <= 64 and y2.max() <= 64
        assert (x2 > x1).all() and (y2 > y1).all()


def test_every_class_is_in_every_part_and_every_picture_has_a_box_that_counts():
    for part in scenes_boxes.load().values():
        counted = part.boxes[..., 5] == COUNTED
        assert set(part.boxes[counted][:, 4]) == set(range(10))
        assert counted.any(axis=1).all()


def test_a_box_of_a_digit_that_nothing_hides_is_that_of_its_pixels():
    checked = 0
    for mask, boxes, visible in zip(scenes_boxes.made()["test"].masks, scenes_boxes.made()["test"].boxes, scenes_boxes.made()["test"].visible, strict=True):
        labels = boxes[visible > 0, 4]
        for x1, y1, x2, y2, label in boxes[visible == 1]:
            if (labels == label).sum() == 1:
                rows, columns = np.nonzero(mask == label + 1)
                # a border of another digit hides labels, not the digit
                assert x1 <= columns.min() and y1 <= rows.min() and x2 > columns.max() and y2 > rows.max()
                checked += 1
                assert max(columns.min() - x1, rows.min() - y1, x2 - 1 - columns.max(), y2 - 1 - rows.max()) <= 1
    assert checked > 200


def test_a_digit_that_is_mostly_hidden_is_a_crowd_region_and_one_that_is_hidden_entirely_has_no_box():
    for part, samples in scenes_boxes.load().items():
        visible = scenes_boxes.made()[part].visible
        assert np.array_equal(samples.boxes[..., 5] == CROWD, (visible > 0) & (visible < scenes_boxes.VISIBLE))
        assert np.array_equal(samples.boxes[..., 5] == COUNTED, visible >= scenes_boxes.VISIBLE)
        assert not samples.boxes[visible == 0].any()
        assert (samples.boxes[..., 5] == CROWD).any()


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations(PARTS, 2)])
def test_no_digit_and_no_pixel_of_a_photograph_is_in_two_parts(one: str, other: str):
    covered = []
    for part in (one, other):
        pixels = np.zeros((2, 427, 640), bool)
        for photograph, row, column, side in scenes_boxes.made()[part].windows:
            pixels[photograph, row : row + side, column : column + side] = True
        covered.append(pixels)
    assert not (covered[0] & covered[1]).any()
    assert not set(scenes_boxes.made()[one].digits) & set(scenes_boxes.made()[other].digits)


def test_no_test_picture_is_in_train():
    found = scenes_boxes.read()
    assert found.test.overlap(found.train) == 0
    assert found.test.overlap(found.test) == len(found.test)


def test_truth_and_sizes_are_those_of_pictures_that_nothing_scales():
    samples = scenes_boxes.load()["test"]
    truth = samples.truth([4, 2])
    assert np.array_equal(truth.boxes, samples.boxes[[4, 2]])
    x1, y1, x2, y2 = truth.boxes[0, 0, :4]
    assert truth.areas[0, 0] == (x2 - x1) * (y2 - y1)
    assert samples.sizes([4, 2]).tolist() == [[64, 64, 1], [64, 64, 1]]
