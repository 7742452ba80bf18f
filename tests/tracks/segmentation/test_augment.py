"""Augmentation: images and targets move together, and a naive loop finds the same pixels."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdarena.tracks.segmentation import augment
from kdarena.tracks.segmentation.data import Augmentation

UNKNOWN = 255.0
fractions = st.integers(0, 999).map(lambda thousandths: thousandths / 1000)


def test_no_enlargement_no_margin_and_no_flip_leave_everything_as_it_is():
    images, targets = torch.randn(3, 3, 6, 8), torch.randint(0, 9, (3, 6, 8))
    how = Augmentation((6, 8), (1.0, 1.0), 0, flip=False)
    crops, labels = augment.apply(how, images, targets, torch.rand(3, 4), UNKNOWN)
    assert torch.allclose(crops, images, atol=1e-5)
    assert torch.equal(labels, targets.float())


def test_a_flip_mirrors_image_and_target():
    images, targets = torch.randn(1, 3, 6, 8), torch.randint(0, 9, (1, 6, 8))
    how = Augmentation((6, 8), (1.0, 1.0))
    crops, labels = augment.apply(how, images, targets, torch.tensor([[0.5, 0.5, 0.5, 0.2]]), UNKNOWN)
    assert torch.allclose(crops, images.flip(3), atol=1e-5)
    assert torch.equal(labels, targets.flip(2).float())


def test_a_crop_passes_the_edge_by_the_margin_at_most_and_is_unknown_there():
    images, targets = torch.ones(1, 3, 6, 8), torch.zeros(1, 6, 8)
    how = Augmentation((6, 8), (1.0, 1.0), margin=2, flip=False)
    crops, labels = augment.apply(how, images, targets, torch.tensor([[0.5, 0.0, 0.5, 0.9]]), UNKNOWN)
    assert (labels[0, :2] == UNKNOWN).all() and (labels[0, 2:] == 0).all()
    assert crops[0, :, :2].abs().max() < 1e-5 and torch.allclose(crops[0, :, 2:], torch.ones(3, 4, 8))


@given(st.tuples(fractions, fractions, fractions, fractions), st.sampled_from([(0.5, 2.0), (1.0, 1.5)]), st.sampled_from([(5, 7), (9, 4), (12, 14)]))
@settings(max_examples=60, deadline=None)
def test_every_target_is_that_of_the_nearest_pixel_under_the_drawn_map(drawn: tuple[float, ...], scale: tuple[float, float], crop: tuple[int, int]):
    height, width = 9, 11
    targets = torch.arange(height * width).reshape(1, height, width)
    how = Augmentation(crop, scale, margin=1)
    uniform = torch.tensor([drawn])
    _, labels = augment.apply(how, torch.zeros(1, 3, height, width), targets, uniform, -1.0)
    a, b, c, d = uniform[0].double().tolist()
    s = scale[0] * (scale[1] / scale[0]) ** a
    offsets = []
    for fraction, whole, side in ((b, s * height, crop[0]), (c, s * width, crop[1])):
        offsets.append(min(0.0, whole - side) - 1 + fraction * (abs(whole - side) + 2))
    for row in range(crop[0]):
        for column in range(crop[1]):
            y, x = (row + 0.5 + offsets[0]) / s, (column + 0.5 + offsets[1]) / s
            if d < 0.5:
                x = width - x
            # within rounding of a pixel's edge either side is right
            if any(abs(place - round(place)) < 1e-3 for place in (y, x)):
                continue
            inside = 0 <= y < height and 0 <= x < width
            assert labels[0, row, column] == (targets[0, math.floor(y), math.floor(x)] if inside else -1)


def test_an_enlarged_image_shows_distances_nearer():
    how = Augmentation((4, 4), (2.0, 2.0), flip=False, nearer=True)
    _, distances = augment.apply(how, torch.zeros(1, 3, 4, 4), torch.full((1, 4, 4), 6.0), torch.full((1, 4), 0.5), float("nan"))
    assert torch.allclose(distances, torch.full((1, 4, 4), 3.0))


def test_unknown_distances_stay_unknown_and_known_ones_known():
    targets = torch.full((1, 6, 6), 2.0)
    targets[0, 2, 3] = float("nan")
    _, distances = augment.apply(Augmentation((6, 6), (1.0, 1.0), flip=False), torch.zeros(1, 3, 6, 6), targets, torch.rand(1, 4), float("nan"))
    assert torch.equal(distances.isnan(), targets.isnan())


def test_scales_are_log_uniform_within_their_bounds():
    drawn = augment.draw(4000, torch.Generator().manual_seed(0))
    _, scales = augment.affine(Augmentation((4, 4)), (4, 4), drawn)
    assert scales.min() >= 0.5 and scales.max() <= 2.0
    assert abs(scales.log().mean()) < 0.02
