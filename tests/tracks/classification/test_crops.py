"""Random crops that are resized, of a whole batch."""

from __future__ import annotations

import torch

from kdarena.tracks.classification.crops import LEAST_AREA, ResizedCrop


def drawn(flip: bool = True, count: int = 2000) -> torch.Tensor:
    return ResizedCrop(flip).draw(count, torch.Generator().manual_seed(0))


def test_a_part_lies_in_the_image_and_has_its_share_of_the_area():
    centre_x, centre_y, half_x, half_y = drawn().unbind(1)
    assert ((centre_x.abs() + half_x.abs()) <= 1 + 1e-6).all() and ((centre_y.abs() + half_y) <= 1 + 1e-6).all()
    area = half_x.abs() * half_y
    assert area.min() > LEAST_AREA - 0.01 and area.max() > 0.9 and area.mean() > 0.5


def test_half_of_the_images_are_flipped_and_none_where_that_is_off():
    assert 0.45 < (drawn()[:, 2] < 0).double().mean() < 0.55
    assert (drawn(flip=False)[:, 2] > 0).all()


def test_the_same_seed_draws_the_same():
    assert torch.equal(drawn(), drawn())


def test_the_whole_image_is_the_image_and_a_negative_side_its_mirror():
    images = torch.randint(0, 256, (2, 6, 6, 3), dtype=torch.uint8)
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, -1.0, 1.0]])
    cropped = ResizedCrop(True).apply(images, whole)
    assert torch.allclose(cropped[0], images[0].float(), atol=1e-3) and torch.allclose(cropped[1], images[1].flip(1).float(), atol=1e-3)


def test_a_quarter_is_magnified():
    images = torch.zeros(1, 8, 8, 3, dtype=torch.uint8)
    images[:, :4, 4:] = 200
    upper_right = torch.tensor([[0.5, -0.5, 0.5, 0.5]])
    cropped = ResizedCrop(False).apply(images, upper_right)
    assert cropped.shape == images.shape and cropped[:, 1:-1, 1:-1].min() > 199
