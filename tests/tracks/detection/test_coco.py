"""COCO's layout: boxes are read as they are annotated, pictures are brought to one size, and what is odd but right is used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tracks.detection.layouts import CATEGORIES, Content, save_picture

from kdarena.tracks.detection import coco
from kdarena.tracks.downloads import DOWNLOADS
from kdarena.tracks.segmentation.files import FILLING

Change = Callable[[Callable[[Content], object]], Path]


def test_boxes_have_the_pixels_classes_and_areas_of_the_annotations(small_coco: Path):
    found = coco.read(str(small_coco))
    assert found.classes == ("person", "car", "toothbrush")  # by ascending id, of which some are missing
    assert (len(found.train), len(found.test), found.most, found.fixed_validation) == (4, 3, 2, False)
    truth = found.train.truth([0, 3])
    assert truth.boxes.tolist() == [[[5, 10, 25, 25, 0, 1], [30, 5, 40, 35, 2, 1]], [[0] * 6, [0] * 6]]
    assert truth.areas.tolist() == [[200, 300], [0, 0]]


def test_a_picture_is_scaled_to_fit_with_its_boxes_and_filled_up(small_coco: Path):
    samples = coco.read(str(small_coco)).train
    images, boxes = samples.read([0, 1])
    scale = 32 / 60
    assert images.shape == (2, 32, 32, 3) and images.dtype == np.uint8 and boxes.dtype == np.float32
    assert (images[0, 21:] == FILLING).all()  # 40 rows become 21 and a third
    assert boxes[0].ravel() == pytest.approx([5 * scale, 10 * scale, 25 * scale, 25 * scale, 0, 1, 30 * scale, 5 * scale, 40 * scale, 35 * scale, 2, 1])
    assert not boxes[1, 1].any()
    assert samples.sizes([0]).tolist() == [[40, 60, scale]]


def test_pixels_and_boxes_are_scaled_alike(small_coco: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(coco, "SIZE", (97, 101))
    path = small_coco / coco.FOLDER / "train2017" / "001.png"
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[10:25, 5:25] = 255
    Image.fromarray(picture).save(path)
    images, boxes = coco.read(str(small_coco)).train.read([0])
    rows, columns = np.nonzero(images[0, :67, :, 0] > 127)  # above what is filled up
    x1, y1, x2, y2 = boxes[0, 0, :4]
    assert [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] == pytest.approx([x1, y1, x2, y2], abs=0.75)


def test_a_box_that_passes_the_edge_is_cut_there(changed: Change):
    root = changed(lambda content: content["annotations"][0].update(bbox=[-5, 30, 20, 25], area=None))
    truth = coco.read(str(root)).train.truth([0])
    assert truth.boxes[0, 0].tolist() == [0, 30, 15, 40, 0, 1]
    assert truth.areas[0, 0] == 150


def test_a_crowd_region_is_flagged(changed: Change):
    root = changed(lambda content: content["annotations"][0].update(iscrowd=1, segmentation={"counts": [1], "size": [40, 60]}))
    samples = coco.read(str(root)).train
    assert samples.truth([0]).boxes[0, 0, 5] == 2 and samples.read([0])[1][0, 0, 5] == 2


def test_a_box_of_no_area_is_left_out_and_reported(changed: Change):
    root = changed(lambda content: [annotation.update(bbox=[5, 10, 20, 0]) for annotation in content["annotations"][:2]])
    found = coco.read(str(root))
    assert (found.train.truth([0, 1]).boxes[..., 5] > 0).sum() == 1
    (note,) = coco.check(str(root))
    assert note.endswith("instances_train2017.json: annotation 100: its box has no area and is left out; so are those of 1 more annotations")


def test_area_and_iscrowd_may_be_missing_and_ids_may_be_texts(changed: Change):
    def change(content: Content) -> None:
        for annotation in content["annotations"]:
            del annotation["area"], annotation["iscrowd"]
            annotation["image_id"] = f"image {annotation['image_id']}"
        for image in content["images"]:
            image["id"] = f"image {image['id']}"

    truth = coco.read(str(changed(change))).train.truth([0])
    assert truth.areas.tolist() == [[300, 300]] and (truth.boxes[..., 5] == 1).all()


def test_pictures_in_other_modes_and_rotated_ones_are_read(small_coco: Path):
    folder = small_coco / coco.FOLDER / "train2017"
    Image.fromarray(np.full((40, 60), 9, np.uint8)).save(folder / "001.png")
    Image.fromarray(np.full((40, 60, 4), 255, np.uint8)).save(folder / "002.png")
    turned, exif = Image.fromarray(np.zeros((60, 40, 3), np.uint8)), Image.Exif()
    exif[0x0112] = 6
    turned.save(folder / "003.png", exif=exif)
    assert coco.check(str(small_coco)) == ()
    images, _ = coco.read(str(small_coco)).train.read([0, 1, 2])
    assert [int(image[10, 10].max()) for image in images] == [9, 255, 0]


def test_a_picture_in_a_folder_below_is_read(changed: Change):
    root = changed(lambda content: content["images"][0].update(file_name="day/a.png"))
    save_picture(root / coco.FOLDER / "train2017" / "day" / "a.png", 40, 60)
    assert coco.check(str(root)) == ()


def test_any_data_set_in_the_layout_is_read_whatever_its_size(small_coco: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    found = coco.read_folder(small_coco / coco.FOLDER, name="mine")
    assert (found.name, len(found.train), found.classes) == ("mine", 4, ("person", "car", "toothbrush"))
    with pytest.raises(ValueError, match="instances_train2017.json: it lists 4 images, officially 118287"):
        coco.read(str(small_coco))


def test_pictures_of_test_that_are_in_train_are_counted(small_coco: Path):
    folder = small_coco / coco.FOLDER
    shutil.copy(folder / "train2017" / "002.png", folder / "val2017" / "006.png")
    found = coco.read(str(small_coco))
    assert found.test.overlap(found.train) == 1


def test_the_digest_sees_a_changed_annotation_but_not_the_place_of_the_folder(changed: Change, tmp_path_factory: pytest.TempPathFactory):
    root = changed(lambda content: None)
    before = coco.digest(str(root))
    moved = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(root, moved, dirs_exist_ok=True)
    assert coco.digest(str(moved)) == before
    changed(lambda content: content["annotations"][0].update(bbox=[6, 10, 20, 15]))
    assert coco.digest(str(root)) != before


def test_what_is_missing_is_named_with_what_to_do(tmp_path: Path, small_coco: Path):
    assert coco.missing(str(small_coco)) is None
    assert "give --data-root DIR" in str(coco.missing(None))
    assert (small_coco / DOWNLOADS["coco"].gives).is_dir()
    shutil.rmtree(small_coco / coco.FOLDER / "val2017")
    message = str(coco.missing(str(small_coco)))
    assert message.startswith(f"{small_coco}/coco/val2017 is missing: ") and "kdarena data fetch coco" in message


def test_pycocotools_reads_the_same_boxes(small_coco: Path):
    from pycocotools.coco import COCO

    listing = small_coco / coco.FOLDER / "annotations" / "instances_val2017.json"
    theirs, found = COCO(listing), coco.read(str(small_coco))
    truth = found.test.truth(range(3))
    names = {category["id"]: category["name"] for category in CATEGORIES}
    for row, image in enumerate(json.loads(listing.read_text())["images"]):
        expected = [(*a["bbox"], names[a["category_id"]]) for a in theirs.loadAnns(theirs.getAnnIds(imgIds=image["id"]))]
        ours = [(x1, y1, x2 - x1, y2 - y1, found.classes[int(label)]) for x1, y1, x2, y2, label, flag in truth.boxes[row] if flag]
        assert ours == expected
