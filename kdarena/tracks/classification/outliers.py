"""Further images for a data set: unlabelled auxiliary ones to learn from, and out-of-distribution ones to detect.

Both come in the shape and the pixel values of the data set that they are for. Nothing here imports torch.
"""

from __future__ import annotations

import functools
import gzip
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from kdarena.tracks.classification.data import CIFAR, read_split

if TYPE_CHECKING:
    import numpy as np

MNIST_TEST = "MNIST/raw/t10k-images-idx3-ubyte"
PHOTOGRAPHS = {"china": "china.jpg", "flower": "flower.jpg"}
"""The two photographs that scikit-learn carries, cut into patches; one is auxiliary, the other out of distribution, so that no image is both."""
SHRINK = 2


def auxiliary_of(data_set: str, data_root: str | None) -> str | None:
    """The name of a data set's auxiliary images, or None where they are absent."""
    if data_set == "digits":
        return "china"
    if data_set not in CIFAR:
        return None
    other = "cifar100" if data_set == "cifar10" else "cifar10"
    return other if _has(other, data_root, list(CIFAR[other].train)) else None


def outliers_of(data_set: str, data_root: str | None) -> tuple[str, ...]:
    """The names of a data set's out-of-distribution sets that are there."""
    if data_set == "digits":
        return ("flower",)
    if data_set not in CIFAR:
        return ()
    other = "cifar100" if data_set == "cifar10" else "cifar10"
    found = [other] if _has(other, data_root, list(CIFAR[other].test)) else []
    return (*found, "mnist") if _mnist(data_root) else tuple(found)


def auxiliary_images(name: str, data_root: str | None) -> np.ndarray:
    """Images [N, H, W, C] of bytes to learn from without labels."""
    return photograph(name) if name in PHOTOGRAPHS else read_split(name, data_root, "train")


def outlier_images(name: str, data_root: str | None) -> np.ndarray:
    """Images [N, H, W, C] of bytes that no class of the data set fits."""
    if name in PHOTOGRAPHS:
        return photograph(name)
    return mnist_test(data_root) if name == "mnist" else read_split(name, data_root, "test")


@functools.cache
def photograph(name: str) -> np.ndarray:
    """Grey patches of 8 x 8 of a photograph at half its size, with values 0 to 16 as the digits have: [N, 8, 8, 1]."""
    import numpy as np
    from sklearn.datasets import load_sample_image

    grey = load_sample_image(PHOTOGRAPHS[name]).mean(axis=2)
    side = 8 * SHRINK
    rows, columns = grey.shape[0] // side, grey.shape[1] // side
    shrunk = grey[: rows * side, : columns * side].reshape(rows * 8, SHRINK, columns * 8, SHRINK).mean(axis=(1, 3))
    patches = shrunk.reshape(rows, 8, columns, 8).transpose(0, 2, 1, 3).reshape(-1, 8, 8, 1)
    return np.ascontiguousarray((patches * 16 / 255).round().astype(np.uint8))


def mnist_test(data_root: str | None) -> np.ndarray:
    """MNIST's test images, in colour and padded to 32 x 32: [10000, 32, 32, 3].

    Raises:
        ValueError: the file is missing or no such file.
    """
    import numpy as np

    path = _mnist(data_root)
    if path is None:
        raise ValueError(f"{MNIST_TEST}(.gz) is missing below the data root")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: not an idx file of images: {error}") from None
    magic, count, height, width = (int.from_bytes(content[4 * i : 4 * i + 4], "big") for i in range(4))
    if magic != 2051 or (height, width) != (28, 28) or len(content) != 16 + count * height * width:
        raise ValueError(f"{path}: not an idx file of images of 28 x 28")
    pixels = np.frombuffer(content, np.uint8, offset=16).reshape(count, height, width)
    padded = np.pad(pixels, ((0, 0), (2, 2), (2, 2)))
    return np.ascontiguousarray(np.repeat(padded[..., None], 3, axis=3))


def _has(name: str, data_root: str | None, files: list[str]) -> bool:
    return data_root is not None and all((Path(data_root) / CIFAR[name].folder / file).is_file() for file in files)


def _mnist(data_root: str | None) -> Path | None:
    if data_root is None:
        return None
    return next((path for path in (Path(data_root) / MNIST_TEST, Path(data_root) / f"{MNIST_TEST}.gz") if path.is_file()), None)
