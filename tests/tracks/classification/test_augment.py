"""Augmentation and normalisation of whole batches against one image at a time."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from kdarena.tracks.classification.augment import Augmentation, Normalisation


def pixels(count: int, size: int, channels: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, size, size, channels), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def one_by_one(images: torch.Tensor, drawn: torch.Tensor, padding: int) -> torch.Tensor:
    found = []
    for image, (row, column, flipped) in zip(images, drawn.tolist(), strict=True):
        wide = image.flip(1) if flipped else image
        padded = functional.pad(wide, (0, 0, padding, padding, padding, padding))
        found.append(padded[row : row + image.shape[0], column : column + image.shape[1]])
    return torch.stack(found)


@pytest.mark.parametrize(("size", "channels", "padding", "flip"), [(32, 3, 4, True), (8, 1, 1, False), (5, 2, 3, True), (6, 3, 0, True)])
def test_a_batch_is_cropped_and_flipped_as_each_image_by_itself(size: int, channels: int, padding: int, flip: bool):
    images, augmentation = pixels(50, size, channels), Augmentation(padding, flip)
    drawn = augmentation.draw(50, torch.Generator().manual_seed(1))
    assert torch.equal(augmentation.apply(images, drawn), one_by_one(images, drawn, padding))


def test_offsets_cover_all_positions_evenly_and_half_of_the_images_are_flipped():
    drawn = Augmentation(4, True).draw(81_000, torch.Generator().manual_seed(0))
    counts = torch.bincount(drawn[:, 0] * 9 + drawn[:, 1], minlength=81)
    assert len(counts) == 81 and int(counts.min()) > 850 and int(counts.max()) < 1150
    assert abs(float(drawn[:, 2].double().mean()) - 0.5) < 0.01


def test_without_flip_nothing_is_flipped():
    assert int(Augmentation(1, False).draw(1000, torch.Generator().manual_seed(0))[:, 2].max()) == 0


@pytest.mark.parametrize("channels_last", [True, False])
def test_pixels_are_normalised_by_channel(channels_last: bool):
    images = pixels(3, 6, 3)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    found = Normalisation(mean, std, 255.0, 6, channels_last, torch.device("cpu"))(images)
    expected = (images.permute(0, 3, 1, 2).double() / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=1e-5)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def test_grey_images_come_out_contiguous():
    found = Normalisation((0.5,), (0.2,), 16.0, 8, False, torch.device("cpu"))(pixels(4, 8, 1))
    assert found.shape == (4, 1, 8, 8) and found.stride() == (64, 64, 8, 1)
