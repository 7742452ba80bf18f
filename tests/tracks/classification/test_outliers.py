"""Further images for a data set: which there are, that they fit its shape, and that none is both."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from kdarena.tracks.classification import outliers
from kdarena.tracks.classification.cards import card
from kdarena.tracks.classification.data import load_cifar, load_digits

pytestmark = pytest.mark.filterwarnings("ignore:.*not the original files")

PIXELS = np.random.RandomState(0).randint(0, 256, (3, 28, 28)).astype(np.uint8)


def idx(pixels: np.ndarray = PIXELS, magic: int = 2051) -> bytes:
    return b"".join(number.to_bytes(4, "big") for number in (magic, *pixels.shape)) + pixels.tobytes()


def write_mnist(root: Path, content: bytes, name: str = "t10k-images-idx3-ubyte") -> str:
    (root / "MNIST" / "raw").mkdir(parents=True)
    (root / "MNIST" / "raw" / name).write_bytes(content)
    return str(root)


# photographs for the digits
def test_digits_learn_from_one_photograph_and_are_distinguished_from_another():
    described = card("digits")
    assert (described.auxiliary, described.outliers) == ("china", ("flower",))


def test_auxiliary_images_and_outliers_share_no_patch():
    auxiliary, foreign = ({patch.tobytes() for patch in outliers.photograph(name)} for name in outliers.PHOTOGRAPHS)
    assert not auxiliary & foreign


@pytest.mark.parametrize("name", outliers.PHOTOGRAPHS)
def test_patches_have_the_digits_shape_type_and_range(name: str):
    digits, patches = load_digits().test_images, outliers.photograph(name)
    assert (patches.shape[1:], patches.dtype) == (digits.shape[1:], digits.dtype)
    assert len(patches) == (427 // 16) * (640 // 16)
    assert patches.max() <= 16 and len(np.unique(patches)) > 10


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 39), (25, 0), (7, 21)])
def test_a_patch_is_its_place_in_the_photograph_at_half_size(row: int, column: int):
    place = load_sample_image("china.jpg")[16 * row : 16 * row + 16, 16 * column : 16 * column + 16].astype(float)
    expected = [[np.round(place[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean() * 16 / 255) for x in range(8)] for y in range(8)]
    assert outliers.photograph("china")[40 * row + column, :, :, 0].tolist() == expected


# CIFAR-100 for CIFAR-10, and the other way round
def test_each_cifar_has_the_others_train_images_to_learn_from_and_its_test_images_as_outliers(tmp_path: Path, write: Callable[..., None]):
    root = str(tmp_path)
    for name in ("cifar10", "cifar100"):
        write(tmp_path, name, 4)
    for name, other in (("cifar10", "cifar100"), ("cifar100", "cifar10")):
        assert outliers.auxiliary_of(name, root) == other and outliers.outliers_of(name, root) == (other,)
        assert np.array_equal(outliers.auxiliary_images(other, root), load_cifar(other, root).train_images)
        assert np.array_equal(outliers.outlier_images(other, root), load_cifar(other, root).test_images)


def test_what_is_not_below_the_data_root_is_not_offered(small_cifar: Path):
    for root in (None, str(small_cifar)):
        assert outliers.auxiliary_of("cifar100", root) is None
        assert outliers.outliers_of("cifar100", root) == ()
    described = card("cifar100", str(small_cifar))
    assert (described.auxiliary, described.outliers) == (None, ())


def test_half_of_a_data_set_offers_what_it_holds(tmp_path: Path, write: Callable[..., None]):
    write(tmp_path, "cifar100", 4)
    (tmp_path / "cifar-100-python" / "train").unlink()
    assert outliers.auxiliary_of("cifar10", str(tmp_path)) is None
    assert outliers.outliers_of("cifar10", str(tmp_path)) == ("cifar100",)


@pytest.mark.parametrize("root", [None, "nowhere"])
def test_images_that_are_missing_are_named_in_one_line(root: str | None):
    with pytest.raises(ValueError, match="data_batch_1 is missing: give --data-root DIR"):
        outliers.auxiliary_images("cifar10", root)


# MNIST
@pytest.mark.parametrize("packed", [False, True])
def test_mnist_is_read_padded_and_in_colour(tmp_path: Path, packed: bool):
    root = write_mnist(tmp_path, gzip.compress(idx()), "t10k-images-idx3-ubyte.gz") if packed else write_mnist(tmp_path, idx())
    images = outliers.outlier_images("mnist", root)
    assert (images.shape, images.dtype) == ((3, 32, 32, 3), np.uint8)
    for channel in range(3):
        assert np.array_equal(images[:, 2:-2, 2:-2, channel], PIXELS)
    assert images.sum() == 3 * PIXELS.astype(int).sum()


def test_mnist_that_is_there_is_an_outlier_set_of_both_cifars(tmp_path: Path):
    root = write_mnist(tmp_path, idx())
    assert outliers.outliers_of("cifar10", root) == outliers.outliers_of("cifar100", root) == ("mnist",)
    assert outliers.auxiliary_of("cifar10", root) is None


def test_mnist_that_is_missing_says_where_it_belongs(tmp_path: Path):
    with pytest.raises(ValueError, match="MNIST/raw/t10k-images-idx3-ubyte"):
        outliers.outlier_images("mnist", str(tmp_path))


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\x00", idx()[:-1], idx() + b"\x00", idx(magic=2049), b"<html>not found</html>", idx(PIXELS[:, :20])],
    ids=["empty", "cut in its head", "cut at its end", "too long", "labels", "a web page", "other sizes"],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_broken_mnist_file_is_refused_by_name(tmp_path: Path, content: bytes, packed: bool):
    root = write_mnist(tmp_path, gzip.compress(content), "t10k-images-idx3-ubyte.gz") if packed else write_mnist(tmp_path, content)
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte.*: not an idx file"):
        outliers.mnist_test(root)


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(idx())[:-20], b""], ids=["no gzip", "cut", "empty"])
def test_a_broken_gzip_file_is_refused_by_name(tmp_path: Path, content: bytes):
    root = write_mnist(tmp_path, content, "t10k-images-idx3-ubyte.gz")
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte.gz: not an idx file"):
        outliers.mnist_test(root)
