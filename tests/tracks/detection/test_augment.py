"""Augmentation of detection: boxes move along with their pixels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdarena.tracks.detection import augment
from kdarena.tracks.detection.data import Augmentation

HEIGHT, WIDTH = 40, 56
fractions = st.integers(0, 999).map(lambda thousandths: thousandths / 1000)


@st.composite
def rectangles(draw: st.DrawFn) -> tuple[int, int, int, int]:
    x1, y1 = draw(st.integers(0, WIDTH - 5)), draw(st.integers(0, HEIGHT - 5))
    return x1, y1, draw(st.integers(x1 + 5, WIDTH)), draw(st.integers(y1 + 5, HEIGHT))


def _drawn(x1: float, y1: float, x2: float, y2: float, flag: float = 1) -> tuple[torch.Tensor, torch.Tensor]:
    image = torch.zeros(1, 3, HEIGHT, WIDTH)
    image[:, :, int(y1) : int(y2), int(x1) : int(x2)] = 1
    return image, torch.tensor([[[x1, y1, x2, y2, 3, flag], [0] * 6]], dtype=torch.float32)


@given(rectangles(), st.tuples(fractions, fractions, fractions, fractions), st.sampled_from([(0.5, 2.0), (1.0, 1.0)]), st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_box_follows_the_pixels_that_it_was_drawn_around(
    rectangle: tuple[int, int, int, int], drawn: tuple[float, ...], scale: tuple[float, float], flip: bool
):
    image, boxes = _drawn(*rectangle)
    how = Augmentation((32, 48), scale, flip, margin=3)
    moved, [[box, padding]] = augment.apply(how, image, boxes, torch.tensor([drawn]))
    assert moved.shape == (1, 3, 32, 48) and not padding.any()
    rows, columns = torch.nonzero(moved[0, 0] > 0.5, as_tuple=True)
    if box[5] == 1:
        assert box[4] == 3
        if len(rows):
            x1, y1, x2, y2 = box[:4].tolist()
            assert abs(x1 - columns.min()) <= 1 and abs(x2 - columns.max() - 1) <= 1
            assert abs(y1 - rows.min()) <= 1 and abs(y2 - rows.max() - 1) <= 1
    else:
        whole = (rectangle[2] - rectangle[0]) * (rectangle[3] - rectangle[1]) * (scale[0] * (scale[1] / scale[0]) ** drawn[0]) ** 2
        # the pixels that are more than half covered are those of the box but for its borders
        assert len(rows) < 0.25 * whole + 2 * (32 + 48)


def test_no_enlargement_no_margin_and_no_flip_leave_everything_as_it_is():
    images, boxes = torch.rand(2, 3, HEIGHT, WIDTH), torch.tensor([[[3.0, 4, 20, 30, 1, 1], [0] * 6]]).repeat(2, 1, 1)
    moved, after = augment.apply(Augmentation((HEIGHT, WIDTH), (1.0, 1.0), flip=False), images, boxes, torch.rand(2, 4))
    assert torch.allclose(moved, images, atol=1e-4)
    assert torch.allclose(after, boxes, atol=1e-4)


def test_a_flip_mirrors_a_box():
    image, boxes = _drawn(3, 4, 20, 30)
    _, after = augment.apply(Augmentation((HEIGHT, WIDTH), (1.0, 1.0)), image, boxes, torch.tensor([[0.5, 0.5, 0.5, 0.2]]))
    assert after[0, 0].tolist() == pytest.approx([WIDTH - 20, 4, WIDTH - 3, 30, 3, 1], abs=1e-4)


@pytest.mark.parametrize(("width", "stays"), [(15, False), (17, True)])
def test_a_box_of_which_less_than_a_quarter_is_left_becomes_a_crowd_region(width: int, stays: bool):
    image, boxes = _drawn(0, 0, width, 10)
    how = Augmentation((HEIGHT, WIDTH), (1.0, 1.0), flip=False, margin=12)  # shifted by 12 pixels to the left
    _, after = augment.apply(how, image, boxes, torch.tensor([[0.5, 0.5, 1.0, 0.9]]))
    assert after[0, 0].tolist() == pytest.approx([0, 0, width - 12, 10, 3, 1 if stays else 2], abs=1e-4)


def test_what_is_left_of_a_crowd_region_stays_one_however_little_it_is():
    image, boxes = _drawn(0, 0, 13, 10, flag=2)
    how = Augmentation((HEIGHT, WIDTH), (1.0, 1.0), flip=False, margin=12)
    _, after = augment.apply(how, image, boxes, torch.tensor([[0.5, 0.5, 1.0, 0.9]]))
    assert after[0, 0].tolist() == pytest.approx([0, 0, 1, 10, 3, 2], abs=1e-4)


def test_samples_are_moved_each_by_its_own_draw():
    images, boxes = torch.rand(5, 3, HEIGHT, WIDTH), torch.tensor([[[3.0, 4, 20, 30, 1, 1], [9, 9, 30, 30, 0, 1]]]).repeat(5, 1, 1)
    how, drawn = Augmentation((32, 32), (0.5, 2.0), margin=2), augment.draw(5, torch.Generator().manual_seed(3))
    together = augment.apply(how, images, boxes, drawn)
    alone = [augment.apply(how, images[[row]], boxes[[row]], drawn[[row]]) for row in range(5)]
    for number in (0, 1):
        assert torch.allclose(together[number], torch.cat([each[number] for each in alone]), atol=1e-5)
