"""The embedded scenes: the same everywhere, and nothing shared among train, validation and test."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from kdarena.tracks.segmentation import scenes

PARTS = ("train", "validation", "test")


def test_parts_have_the_promised_sizes_and_types() -> None:
    for part, found in scenes.load_scenes().items():
        assert found.images.shape == (scenes.SIZES[part], scenes.SIDE, scenes.SIDE, 3)
        assert found.images.dtype == np.uint8
        assert found.masks.shape == found.distances.shape == found.images.shape[:3]


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations(PARTS, 2)])
def test_no_digit_is_in_two_parts(one: str, other: str) -> None:
    found = scenes.load_scenes()
    assert not set(found[one].digits) & set(found[other].digits)
    assert len(found[one].digits) > 100


def test_digits_of_no_two_parts_are_the_same_picture_under_another_row() -> None:
    from sklearn.datasets import load_digits

    pictures = load_digits().images
    seen = {part: {pictures[row].tobytes() for row in found.digits} for part, found in scenes.load_scenes().items()}
    for one, other in itertools.combinations(PARTS, 2):
        assert not seen[one] & seen[other]


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations(PARTS, 2)])
def test_grounds_of_two_parts_share_no_pixel_of_a_photograph(one: str, other: str) -> None:
    covered = []
    for part in (one, other):
        pixels = np.zeros((2, 427, 640), bool)
        for photograph, row, column, side in scenes.load_scenes()[part].windows:
            pixels[photograph, row : row + side, column : column + side] = True
        covered.append(pixels)
    assert all(pixels.any() for pixels in covered)
    assert not (covered[0] & covered[1]).any()


def test_every_class_is_in_every_part_and_borders_are_ignored() -> None:
    for found in scenes.load_scenes().values():
        assert set(np.unique(found.masks)) == {*range(len(scenes.CLASSES)), scenes.IGNORED}


def test_a_digit_never_touches_another_class_without_a_border() -> None:
    masks = scenes.load_scenes()["train"].masks.astype(int)
    for before, after in ((masks[:, :-1], masks[:, 1:]), (masks[:, :, :-1], masks[:, :, 1:])):
        different = before != after
        assert ((before == scenes.IGNORED) | (after == scenes.IGNORED))[different].all()


def test_distances_are_unknown_exactly_at_the_borders_and_digits_are_nearer_than_the_ground() -> None:
    found = scenes.load_scenes()["test"]
    assert np.array_equal(np.isnan(found.distances), found.masks == scenes.IGNORED)
    digits, ground = found.distances[(found.masks > 0) & (found.masks < scenes.IGNORED)], found.distances[found.masks == 0]
    assert digits.mean() < ground.mean()
    assert found.distances[~np.isnan(found.distances)].min() > 0


def test_scenes_made_anew_are_the_same_to_the_last_byte() -> None:
    kept = scenes.digest()
    scenes.load_scenes.cache_clear()
    scenes.digest.cache_clear()
    assert scenes.digest() == kept


def test_bilinear_sampling_is_a_weighted_mean_of_four_pixels() -> None:
    picture = np.arange(12.0).reshape(3, 4) ** 2
    for row, column in itertools.product((0.0, 0.25, 1.5, 1.999), (0.0, 0.6, 2.3)):
        y, x = int(row), int(column)
        below, right = row - y, column - x
        expected = sum(
            picture[y + i, x + j] * (below if i else 1 - below) * (right if j else 1 - right)
            for i, j in itertools.product((0, 1), (0, 1))
            if y + i < 3 and x + j < 4
        )
        assert scenes.bilinear(picture, np.array([row]), np.array([column]))[0] == pytest.approx(expected)


def test_bilinear_sampling_fades_to_zero_outside() -> None:
    picture = np.full((2, 2), 8.0)
    assert scenes.bilinear(picture, np.array([-0.5, -1.0, 5.0]), np.array([0.0, 0.0, 0.0])).tolist() == [4.0, 0.0, 0.0]
