"""Bad input is named by file, and by label where there is one, before training."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdarena.tracks.segmentation import benchmarks, camvid, files, nyu
from kdarena.tracks.segmentation.cards import card
from kdarena.tracks.segmentation.files import Distances, Files, Labels, Pair

FOLDER = "CamVid"


def refused(root: Path) -> str:
    with pytest.raises(ValueError) as error:
        camvid.read(str(root))
    message = str(error.value)
    assert "\n" not in message
    return message


def test_a_whole_set_is_read_with_the_validation_part_last(small_camvid: Path):
    found = camvid.read(str(small_camvid))
    assert (len(found.train), len(found.test), found.fixed_validation) == (7, 3, True)
    images, masks = found.train.read([0, 6])
    assert images.shape == (2, 24, 32, 3)
    last = np.asarray(Image.open(small_camvid / FOLDER / "valannot" / "001.png"))
    assert np.array_equal(masks[1], np.where(last == 11, 255, last))
    assert np.array_equal(images[0], np.asarray(Image.open(small_camvid / FOLDER / "train" / "000.png")))


def test_a_mask_with_an_unknown_label_is_named_with_the_label(small_camvid: Path):
    path = small_camvid / FOLDER / "testannot" / "001.png"
    mask = np.asarray(Image.open(path)).copy()
    mask[3, 4] = 77
    Image.fromarray(mask).save(path)
    message = refused(small_camvid)
    assert str(path) in message and "label 77" in message and "0-11, 255" in message


def test_an_image_without_its_mask_is_named(small_camvid: Path):
    path = small_camvid / FOLDER / "valannot" / "000.png"
    path.unlink()
    message = refused(small_camvid)
    assert str(path) in message and "mask" in message and "val.txt, line 1" in message


def test_a_missing_image_is_named_also_by_the_digest(small_camvid: Path):
    path = small_camvid / FOLDER / "train" / "002.png"
    path.unlink()
    assert str(path) in refused(small_camvid)
    with pytest.raises(ValueError, match="train/002.png"):
        camvid.digest(str(small_camvid))


def test_a_line_of_the_list_without_a_mask_is_named_by_number(small_camvid: Path):
    listing = small_camvid / FOLDER / "train.txt"
    lines = listing.read_text().splitlines()
    lines[2] = lines[2].split()[0]
    listing.write_text("\n".join(lines))
    message = refused(small_camvid)
    assert f"{listing}, line 3" in message


def test_a_list_that_is_not_the_official_one_is_named(small_camvid: Path):
    listing = small_camvid / FOLDER / "test.txt"
    listing.write_text(listing.read_text().splitlines()[0])
    assert "has 1 images, officially 3" in refused(small_camvid)
    listing.write_text("")
    assert "empty" in refused(small_camvid)


def test_a_mask_of_another_size_than_its_image_is_named_with_both_sizes(small_camvid: Path):
    path = small_camvid / FOLDER / "trainannot" / "004.png"
    Image.fromarray(np.zeros((24, 30), np.uint8)).save(path)
    message = refused(small_camvid)
    assert str(path) in message and "24 x 30" in message and "24 x 32" in message


def test_an_image_of_another_size_than_the_sets_is_named(small_camvid: Path):
    for kind, shape in (("train", (20, 32, 3)), ("trainannot", (20, 32))):
        Image.fromarray(np.zeros(shape, np.uint8)).save(small_camvid / FOLDER / kind / "001.png")
    assert "train/001.png: 20 x 32 pixels, where this data set has 24 x 32" in refused(small_camvid)


def test_a_mask_in_colour_is_named(small_camvid: Path):
    path = small_camvid / FOLDER / "trainannot" / "001.png"
    Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(path)
    message = refused(small_camvid)
    assert str(path) in message and "mode RGB" in message


@pytest.mark.parametrize("spoil", [lambda path: path.write_bytes(b"no picture"), lambda path: path.write_bytes(path.read_bytes()[:150])])
def test_a_broken_picture_is_named(small_camvid: Path, spoil: Callable[[Path], object]):
    path = small_camvid / FOLDER / "trainannot" / "003.png"
    spoil(path)
    message = refused(small_camvid)
    assert str(path) in message and "decoded" in message


def test_the_digest_sees_a_changed_label_but_not_the_place_of_the_folder(small_camvid: Path, tmp_path_factory: pytest.TempPathFactory):
    before = camvid.digest(str(small_camvid))
    moved = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(small_camvid / FOLDER, moved / FOLDER)
    assert camvid.digest(str(moved)) == before
    path = moved / FOLDER / "testannot" / "000.png"
    Image.fromarray((np.asarray(Image.open(path)) + 1) % 12).save(path)
    assert camvid.digest(str(moved)) != before


def test_each_sample_is_decoded_once_while_memory_allows(small_camvid: Path, monkeypatch: pytest.MonkeyPatch):
    samples = camvid.read(str(small_camvid)).train
    first = samples.read([0, 1, 1])
    monkeypatch.setattr(files, "decoded", lambda *_: pytest.fail("decoded again"))
    again = samples.read([0, 1, 1])
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    assert np.array_equal(first[0][1], first[0][2])


def test_samples_beyond_the_memory_are_decoded_again(small_camvid: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(files, "KEPT_BYTES", 0)
    samples = camvid.read(str(small_camvid)).train
    first = samples.read([0])
    Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(small_camvid / FOLDER / "train" / "000.png")
    assert samples.read([0])[0].sum() == 0 < first[0].sum()


def test_smaller_images_are_filled_up_with_pixels_that_do_not_count(tmp_path: Path):
    image, mask = tmp_path / "a.png", tmp_path / "b.png"
    Image.fromarray(np.full((3, 4, 3), 9, np.uint8)).save(image)
    Image.fromarray(np.ones((3, 4), np.uint8)).save(mask)
    samples = Files((Pair(image, mask, "list"),), Labels({1: 1}, 255), (5, 6), fill=True)
    images, masks = samples.read([0])
    assert (images[0, :3, :4] == 9).all() and (masks[0, :3, :4] == 1).all()
    assert (masks == 1).sum() == 12 and (masks[masks != 1] == 255).all()
    assert images[0, 4, 5].tolist() == list(files.FILLING)


def test_distances_come_in_metres_and_are_unknown_at_zero_beyond_the_largest_and_outside_the_window(tmp_path: Path):
    path = tmp_path / "depth.png"
    steps = np.array([[0, 1500, 10_001], [2500, 3000, 10_000]], np.uint16)
    Image.fromarray(steps).save(path)
    known = Distances(0.001, 10.0).read(path)
    assert np.allclose(known, [[np.nan, 1.5, np.nan], [2.5, 3.0, 10.0]], equal_nan=True)
    within = Distances(0.001, 10.0, (slice(1, 2), slice(0, 2))).read(path)
    assert np.allclose(within, [[np.nan] * 3, [2.5, 3.0, np.nan]], equal_nan=True)


def test_a_depth_picture_of_eight_bits_or_without_any_distance_is_named(tmp_path: Path):
    for values, said in ((np.ones((2, 2), np.uint8), "mode L"), (np.zeros((2, 2), np.uint16), "no distance")):
        Image.fromarray(values).save(tmp_path / "depth.png")
        with pytest.raises(ValueError, match=said) as error:
            Distances(0.001, 10.0).read(tmp_path / "depth.png")
        assert "depth.png" in str(error.value)


def test_nyu_pairs_each_colour_image_with_the_depth_of_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(nyu, "PARTS", {"train": 1, "test": 1})
    monkeypatch.setattr(nyu, "SIZE", (4, 6))
    monkeypatch.setattr(nyu, "EIGEN_WINDOW", (slice(1, 3), slice(1, 5)))
    for part in ("train", "test"):
        folder = tmp_path / nyu.FOLDER / part / "kitchen"
        folder.mkdir(parents=True)
        Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(folder / "rgb_00012.jpg")
        Image.fromarray(np.full((4, 6), 2000, np.uint16)).save(folder / "sync_depth_00012.png")
    found = nyu.read(str(tmp_path))
    assert np.isnan(found.test.read([0])[1]).sum() == 4 * 6 - 2 * 4
    assert (found.train.read([0])[1] == 2.0).all()
    (folder / "sync_depth_00012.png").unlink()
    with pytest.raises(ValueError, match="sync_depth_00012.png"):
        nyu.read(str(tmp_path))


def test_voc_is_listed_by_torchvision_and_a_mask_with_an_unknown_label_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(benchmarks, "VOC_PARTS", {"train": 1, "val": 1})
    folder = tmp_path / benchmarks.VOC_FOLDER
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    for part in ("train", "val"):
        (folder / "ImageSets" / "Segmentation" / f"{part}.txt").write_text(f"{part}1\n")
        Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(folder / "JPEGImages" / f"{part}1.jpg")
        mask = Image.fromarray(np.full((8, 9), 20, np.uint8), "P")
        mask.putpalette([0] * 768)
        mask.save(folder / "SegmentationClass" / f"{part}1.png")
    found = benchmarks.read_voc(str(tmp_path))
    masks = found.test.read([0])[1]
    assert (masks[0, :8, :9] == 20).all() and (masks == 255).sum() == 512 * 512 - 72
    assert len(benchmarks.voc_digest(str(tmp_path))) == 16
    path = folder / "SegmentationClass" / "val1.png"
    Image.fromarray(np.full((8, 9), 21, np.uint8)).save(path)
    with pytest.raises(ValueError, match="unknown label 21") as error:
        benchmarks.read_voc(str(tmp_path))
    assert str(path) in str(error.value)


def test_cityscapes_ids_become_training_ids_and_the_rest_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(benchmarks, "CITYSCAPES_PARTS", {"train": 1, "val": 1})
    monkeypatch.setattr(benchmarks, "CITYSCAPES_SIZE", (2, 3))
    for part in ("train", "val"):
        for kind, name in (("leftImg8bit", "ulm_000_000_leftImg8bit.png"), ("gtFine", "ulm_000_000_gtFine_labelIds.png")):
            path = tmp_path / benchmarks.CITYSCAPES_FOLDER / kind / part / "ulm" / name
            path.parent.mkdir(parents=True)
            pixels = np.zeros((2, 3, 3), np.uint8) if kind == "leftImg8bit" else np.array([[7, 8, 0], [33, 255, 24]], np.uint8)
            Image.fromarray(pixels).save(path)
    found = benchmarks.read_cityscapes(str(tmp_path))
    assert found.train.read([0])[1][0].tolist() == [[0, 1, 255], [18, 255, 11]]
    assert len(benchmarks.CITYSCAPES_CLASSES) == 19
    assert len(benchmarks.cityscapes_digest(str(tmp_path))) == 16


def test_numbers_are_written_as_spans():
    assert files.spans([255, 0, 1, 2, 7]) == "0-2, 7, 255"


def test_a_test_image_that_is_also_in_train_is_counted(small_camvid: Path):
    shutil.copy(small_camvid / FOLDER / "train" / "002.png", small_camvid / FOLDER / "test" / "001.png")
    found = camvid.read(str(small_camvid))
    assert found.test.overlap(found.train) == 1


@pytest.mark.parametrize("end", [".png", ".jpg"])
def test_an_image_that_is_cut_off_is_named_before_anything_is_planned(tmp_path: Path, end: str):
    image, mask = tmp_path / f"a{end}", tmp_path / "b.png"
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (64, 64, 3)).astype(np.uint8)).save(image)
    Image.fromarray(np.ones((64, 64), np.uint8)).save(mask)
    samples = Files((Pair(image, mask, "list"),), Labels({1: 1}, 255), (64, 64))
    samples.check_images()
    image.write_bytes(image.read_bytes()[:-500])
    with pytest.raises(ValueError, match=f"a{end}: this picture can't be decoded"):
        samples.check_images()


def test_the_cards_check_looks_at_masks_and_images(small_camvid: Path):
    checked = card("camvid").check
    assert tuple(checked(str(small_camvid))) == ()
    path = small_camvid / FOLDER / "val" / "001.png"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"val/001\.png: this picture can't be decoded"):
        checked(str(small_camvid))


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_the_lists_lines_may_end_as_any_editor_ends_them(small_camvid: Path, end: str):
    listing = small_camvid / FOLDER / "train.txt"
    listing.write_bytes(("\ufeff" + end.join(listing.read_text().splitlines()) + end + end).encode())
    assert len(camvid.read(str(small_camvid)).train) == 7
