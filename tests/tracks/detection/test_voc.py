"""Pascal VOC's boxes: pixels that are counted from 1, and difficult objects that don't count."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tracks.detection.layouts import voc_object, voc_xml

from kdarena.tracks.detection import voc
from kdarena.tracks.downloads import DOWNLOADS


def test_a_box_reaches_from_its_first_pixel_to_behind_its_last_and_a_difficult_object_is_a_crowd_region(small_voc: Path):
    found = voc.read(str(small_voc))
    assert (len(found.train), len(found.test), found.most, len(found.classes)) == (3, 2, 2, 20)
    truth = found.train.truth([1])
    dog, cat = found.classes.index("dog"), found.classes.index("cat")
    assert truth.boxes.tolist() == [[[5, 10, 25, 25, dog, 1], [0, 0, 60, 40, cat, 2]]]
    assert truth.areas.tolist() == [[300, 2400]]


def test_a_picture_is_enlarged_to_the_size(small_voc: Path):
    images, boxes = voc.read(str(small_voc)).train.read([0])
    assert images.shape == (1, 64, 64, 3) and images.dtype == np.uint8
    assert boxes[0, 1, :4] == pytest.approx([0, 0, 64, 42], abs=1e-4)  # 42 and two thirds, of which the last part of a pixel is cut off


def test_parts_of_objects_are_no_objects_and_pictures_without_objects_are_valid(small_voc: Path):
    folder = small_voc / voc.VOC_FOLDER / "Annotations"
    part = "<part><name>head</name><bndbox><xmin>7</xmin><ymin>12</ymin><xmax>9</xmax><ymax>14</ymax></bndbox></part>"
    (folder / "2008_000001.xml").write_text(voc_xml(voc_object("person", further=part)))
    (folder / "2008_000002.xml").write_text(voc_xml(""))
    boxes = voc.read(str(small_voc)).train.truth([0, 1]).boxes
    assert boxes[..., 5].tolist() == [[1, 0], [0, 0]]
    assert voc.check(str(small_voc)) == ()


def test_the_digest_sees_a_changed_annotation(small_voc: Path):
    before = voc.digest(str(small_voc))
    (small_voc / voc.VOC_FOLDER / "Annotations" / "2008_000005.xml").write_text(voc_xml(voc_object("cow")))
    assert voc.digest(str(small_voc)) != before


def test_what_is_missing_is_named_with_the_command_that_fetches_what_segmentation_reads_too(small_voc: Path):
    assert voc.missing(str(small_voc)) is None
    assert (small_voc / DOWNLOADS["voc"].gives).is_dir()
    shutil.rmtree(small_voc / voc.VOC_FOLDER / "Annotations")
    message = str(voc.missing(str(small_voc)))
    assert "Annotations is missing" in message and "kdarena data fetch voc" in message


def test_a_list_that_is_not_the_official_one_is_named(small_voc: Path):
    listing = small_voc / voc.VOC_FOLDER / "ImageSets" / "Main" / "val.txt"
    listing.write_text("2008_000004\n")
    with pytest.raises(ValueError, match=r"val\.txt: it lists 1 images, officially 2"):
        voc.read(str(small_voc))
