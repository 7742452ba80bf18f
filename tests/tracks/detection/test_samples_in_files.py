"""Pictures in files go to the device like those of the other tracks: kept there, or decoded as they are asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kdarena.tracks.detection import coco, files
from kdarena.tracks.segmentation.sources import Decoded, Resident


@pytest.mark.parametrize("rows", [[2, 0, 0], [3]])
def test_both_kinds_of_source_give_the_pixels_and_boxes_of_the_rows(small_coco: Path, rows: list[int]):
    samples, device = coco.read(str(small_coco)).train, torch.device("cpu")
    images, boxes = samples.read(rows)
    for source in (Resident(samples, device), Decoded(samples, device)):
        pixels, targets = source.take(torch.tensor(rows))
        assert torch.equal(pixels, torch.from_numpy(images).permute(0, 3, 1, 2))
        assert torch.equal(targets, torch.from_numpy(boxes))


def test_a_picture_is_decoded_when_it_is_asked_for_and_not_before(small_coco: Path):
    samples = coco.read(str(small_coco)).train
    (small_coco / coco.FOLDER / "train2017" / "001.png").unlink()
    samples.read([1])
    with pytest.raises(ValueError, match=r"001\.png: the picture of .*image 10 can't be read"):
        samples.read([0])


def test_a_picture_of_less_than_a_pixel_s_width_keeps_a_column_and_a_sliver_at_its_edge_is_no_box(tmp_path: Path):
    Image.fromarray(np.full((1000, 14, 3), 7, np.uint8)).save(tmp_path / "a.png")
    picture = files.Picture(tmp_path / "a.png", 1000, 14, "list")
    boxes = [files.Box((left, 0.0, 14.0, 1000.0), 0, False).within(picture, "list") for left in (0.0, 12.0)]
    part = files.Part("list", [picture], [[box for box in boxes if box is not None]], [])
    images, read = part.samples((100, 100), 2).read([0])
    # 1.4 columns become one, and what is right of it is cut off
    assert (images[0, :, 0] == 7).all() and (images[0, :, 1:] == files.FILLING).all()
    assert read[0].tolist() == [[0, 0, 1, 100, 0, 1], [0] * 6]
