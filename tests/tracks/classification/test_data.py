"""Readers: fixed splits, the python layout without running its pickles, and what is said where data is missing."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kdarena.errors import UserError
from kdarena.tracks import check_data
from kdarena.tracks.classification import data
from kdarena.tracks.classification.cards import card
from kdarena.tracks.downloads import DOWNLOADS

pytestmark = pytest.mark.filterwarnings("ignore:.*not the original files")


def test_digits_are_the_carried_ones_cut_into_800_and_997():
    from sklearn.datasets import load_digits

    found, carried = data.load_digits(), load_digits()
    assert found.train_images.shape == (800, 8, 8, 1) and found.test_images.shape == (997, 8, 8, 1)
    key = sorted(image.tobytes() + bytes([label]) for image, label in zip(carried.images.astype(np.uint8), carried.target, strict=True))
    both = np.concatenate((found.train_images, found.test_images)), np.concatenate((found.train_labels, found.test_labels))
    assert sorted(image.tobytes() + bytes([label]) for image, label in zip(*both, strict=True)) == key


def test_the_test_split_of_digits_is_stratified_and_never_changes():
    found = data.load_digits()
    shares = np.bincount(found.test_labels) / np.bincount(np.concatenate((found.train_labels, found.test_labels)))
    assert np.abs(shares - 997 / 1797).max() < 0.005
    assert found.digest == "3fdd66d9969110d3"


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize(("name", "files", "classes"), [("cifar10", 5, 10), ("cifar100", 1, 100)])
def test_the_python_layout_is_read_as_torchvision_reads_it(tmp_path: Path, write: Callable[..., None], name: str, files: int, classes: int, protocol: int):
    write(tmp_path, name, 12, protocol)
    found = data.load_cifar(name, str(tmp_path))
    layout = data.CIFAR[name]
    raw = [pickle.loads((tmp_path / layout.folder / file).read_bytes()) for file in layout.train]
    pixels = np.concatenate([each["data"] for each in raw])
    assert found.train_images.shape == (12 * files, 32, 32, 3) and found.test_images.shape == (12, 32, 32, 3)
    assert np.array_equal(found.train_images[7, 3, 5], pixels[7].reshape(3, 32, 32)[:, 3, 5])
    assert found.train_labels.tolist() == [label for each in raw for label in each[layout.labels]]
    assert found.train_labels.max() < classes


def test_keys_of_bytes_are_read_too(tmp_path: Path, small_cifar: Path):
    path = small_cifar / "cifar-100-python" / "test"
    content = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps({key.encode(): value for key, value in content.items()}, protocol=2))
    assert data.load_cifar("cifar100", str(small_cifar)).test_labels.tolist() == content["fine_labels"]


def test_files_that_are_not_the_originals_load_with_one_warning(small_cifar: Path):
    with pytest.warns(UserWarning, match="not the original files of cifar100") as caught:
        data.load_cifar("cifar100", str(small_cifar))
    assert len(caught) == 1 and "\n" not in str(caught[0].message)


def test_the_digest_follows_pixels_and_labels(small_cifar: Path):
    before = data.load_cifar("cifar100", str(small_cifar)).digest
    path = small_cifar / "cifar-100-python" / "test"
    content = pickle.loads(path.read_bytes())
    content["fine_labels"][0] = (content["fine_labels"][0] + 1) % 100
    content["batch_label"] = "another size, so that the file is seen to differ"
    path.write_bytes(pickle.dumps(content, protocol=2))
    assert data.load_cifar("cifar100", str(small_cifar)).digest != before


def test_a_second_call_reads_nothing_again(small_cifar: Path):
    assert data.load_cifar("cifar100", str(small_cifar)) is data.load_cifar("cifar100", str(small_cifar))


class Trap:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(small_cifar: Path):
    (small_cifar / "cifar-100-python" / "train").write_bytes(pickle.dumps({"data": Trap(small_cifar / "ran")}))
    with pytest.raises(ValueError, match=r"train: not a file of the python layout: it wants to call pathlib") as caught:
        data.load_cifar("cifar100", str(small_cifar))
    assert "\n" not in str(caught.value)
    assert not (small_cifar / "ran").exists()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "not a file of the python layout"),
        (pickle.dumps([1, 2]), "holds no dictionary"),
        (pickle.dumps({"data": np.zeros((3, 100), np.uint8), "fine_labels": [0, 1, 2]}), r"'data' has to be bytes of shape \(N, 3072\)"),
        (pickle.dumps({"data": np.zeros((3, 3072), np.uint8), "fine_labels": [0, 1, 100]}), "'fine_labels' has to be a list of 3 classes below 100"),
        (pickle.dumps({"data": np.zeros((3, 3072), np.uint8), "fine_labels": [0, 1]}), "'fine_labels' has to be a list of 3 classes"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(small_cifar: Path, content: bytes, problem: str):
    (small_cifar / "cifar-100-python" / "train").write_bytes(content)
    with pytest.raises(ValueError, match=problem) as caught:
        data.load_cifar("cifar100", str(small_cifar))
    assert "\n" not in str(caught.value)


def test_missing_files_are_named_with_how_to_get_them(tmp_path: Path, small_cifar: Path):
    assert data.missing_files("cifar100", str(small_cifar)) is None
    absent = data.missing_files("cifar10", str(tmp_path))
    assert absent is not None and "data_batch_1 is missing: give --data-root DIR" in absent and "kdarena data fetch cifar10 --root" in absent
    unknown = data.missing_files("cifar10", None)
    assert unknown is not None and unknown.startswith("no data root for cifar-10-batches-py: give --data-root DIR")
    with pytest.raises(ValueError, match="data_batch_1 is missing"):
        data.load_cifar("cifar10", str(tmp_path))


def test_the_standard_files_are_torchvisions():
    from kdarena.tracks.torchvision import import_torchvision

    for name, layout in data.CIFAR.items():
        theirs = getattr(import_torchvision().datasets, name.upper())
        (file,) = DOWNLOADS[name].files
        assert (file.url, file.checksum) == (theirs.url, f"md5:{theirs.tgz_md5}")
        assert layout.folder == theirs.base_folder
        assert list(layout.train.items()) == [tuple(each) for each in theirs.train_list]
        assert list(layout.test.items()) == [tuple(each) for each in theirs.test_list]


def write_classes(root: Path, train: list[int], test: list[int]) -> None:
    """CIFAR-100's layout with the given labels."""
    folder = root / "cifar-100-python"
    folder.mkdir()
    for part, labels in (("train", train), ("test", test)):
        images = np.random.RandomState(len(labels)).randint(0, 256, (len(labels), 3072)).astype(np.uint8)
        (folder / part).write_bytes(pickle.dumps({"data": images, "fine_labels": labels}))


@pytest.mark.parametrize(
    ("train", "says"),
    [
        ([7] * 12, "cifar-100-python: all 12 samples are of one class, '7': add samples of another class"),
        ([1, 2, 3], "cifar-100-python: 3 samples, of which 5 are held out for validation, and none is left to train on"),
    ],
)
def test_labels_that_nothing_can_be_learnt_from_are_refused(tmp_path: Path, train: list[int], says: str):
    write_classes(tmp_path, train, [1, 2])
    with pytest.raises(ValueError, match=says):
        data.check_cifar("cifar100", str(tmp_path), validation=5)


def test_a_class_that_only_test_has_is_said(tmp_path: Path):
    write_classes(tmp_path, [1, 2] * 6, [1, 2, 9])
    (line,) = data.check_cifar("cifar100", str(tmp_path), validation=5)
    assert "no sample of class '9', of which the test part has some" in line


def test_a_set_of_fewer_images_than_are_held_out_is_one_line_of_the_user(small_cifar: Path):
    with pytest.raises(UserError, match="120 samples, of which 5000 are held out for validation"):
        check_data(card("cifar100", str(small_cifar)), str(small_cifar))
