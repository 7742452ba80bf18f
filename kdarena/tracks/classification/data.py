"""The track's data sets as arrays of bytes: scikit-learn's digits, and CIFAR in its standard python layout.

Nothing here imports torch, so that the parent process can name the data of a run. Decoded arrays are kept in memory.
"""

from __future__ import annotations

import functools
import hashlib
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from kdarena.errors import Notice
from kdarena.tracks.downloads import remedy
from kdarena.tracks.rows import check_labels

if TYPE_CHECKING:
    import numpy as np

    from kdarena.tracks.classification.selected import Images

DIGITS_TEST = 997
DIGITS_TEST_SEED = 20231
"""Decides which digits are the test split, for ever."""


DIGITS_PADDING = 1
"""Pixels around a digit, out of which it is cropped."""


@dataclass(frozen=True, eq=False)
class DataSet:
    """Images and labels of the two fixed splits.

    Attributes:
        name: of the data set.
        train_images, test_images: [N, H, W, C] of bytes.
        train_labels, test_labels: [N] of int64.
        mean, std: of the channels, in units of ``peak``.
        peak: the pixel value that counts as 1.
        padding, flip: the standard augmentation: crop out of the zero-padded image, horizontal flip.
        digest: 16 hexadecimal digits of the sha256 of pixels and labels.
        labels: names of the classes; empty: their numbers.
    """

    name: str
    train_images: Images
    train_labels: np.ndarray
    test_images: Images
    test_labels: np.ndarray
    mean: tuple[float, ...]
    std: tuple[float, ...]
    peak: float
    padding: int
    flip: bool
    digest: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """One data set's standard python layout.

    Attributes:
        folder: below the data root.
        train, test: file names with the md5 of the original files.
        labels: key of the labels.
        classes: number of classes.
        mean, std: of the channels, as the public benchmark normalises.
        names: file with the names of the classes, and their key.
    """

    folder: str
    train: Mapping[str, str]
    test: Mapping[str, str]
    labels: str
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    names: tuple[str, str]


CIFAR: Mapping[str, Layout] = {
    "cifar10": Layout(
        folder="cifar-10-batches-py",
        train={
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        },
        test={"test_batch": "40351d587109b95175f43aff81a1287e"},
        labels="labels",
        classes=10,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        names=("batches.meta", "label_names"),
    ),
    "cifar100": Layout(
        folder="cifar-100-python",
        train={"train": "16019d7e3df5f24257cddd939b257f8d"},
        test={"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
        labels="fine_labels",
        classes=100,
        mean=(0.5071, 0.4867, 0.4408),
        std=(0.2675, 0.2565, 0.2761),
        names=("meta", "fine_label_names"),
    ),
}


@functools.cache
def load_digits() -> DataSet:
    """The 1,797 handwritten digits that scikit-learn carries, 8 x 8 with values 0 to 16; 997 of them are the fixed, stratified test split."""
    import numpy as np
    from sklearn.datasets import load_digits as carried

    bunch = carried()
    images = bunch.images.astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int64)
    test = _stratified(labels, DIGITS_TEST, DIGITS_TEST_SEED)
    train = np.setdiff1d(np.arange(len(labels)), test)
    pixels = images[train] / 16
    return DataSet(
        name="digits",
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        mean=(round(float(pixels.mean()), 4),),
        std=(round(float(pixels.std()), 4),),
        peak=16.0,
        padding=DIGITS_PADDING,
        flip=False,
        digest=_digest(images, labels, test),
    )


def _stratified(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """``count`` sorted indices in which each class has its share, rounded by the largest remainders."""
    import numpy as np

    random = np.random.RandomState(seed)  # this generator's streams are frozen across versions of numpy
    classes, sizes = np.unique(labels, return_counts=True)
    shares = sizes * count / len(labels)
    taken = np.floor(shares).astype(int)
    taken[np.argsort(taken - shares, kind="stable")[: count - taken.sum()]] += 1
    chosen = [random.permutation(np.flatnonzero(labels == label))[:take] for label, take in zip(classes, taken, strict=True)]
    return np.sort(np.concatenate(chosen))


def missing_files(name: str, data_root: str | None) -> str | None:
    """What of a CIFAR data set is missing below the data root, and how to get it, in one line; None where all is there."""
    layout = CIFAR[name]
    to_do = remedy(name, data_root, "give --data-root DIR")
    if data_root is None:
        return f"no data root for {layout.folder}: {to_do}"
    folder = Path(data_root) / layout.folder
    absent = next((file for file in (*layout.train, *layout.test) if not (folder / file).is_file()), None)
    return f"{folder / absent} is missing: {to_do}" if absent else None


def load_cifar(name: str, data_root: str | None) -> DataSet:
    """``cifar10`` or ``cifar100`` from its standard python layout below ``data_root``.

    Files that are not the originals are loaded with a warning; the digest identifies the data.

    Raises:
        ValueError: in one line: a file is missing, is no such data, or wants to run code.
    """
    problem = missing_files(name, data_root)
    if problem is not None:
        raise ValueError(problem)
    layout = CIFAR[name]
    folder = Path(str(data_root)).resolve() / layout.folder
    stamps = tuple((stat.st_size, stat.st_mtime_ns) for stat in ((folder / file).stat() for file in (*layout.train, *layout.test)))
    return _read_cifar(name, str(folder), stamps)


def made_up_cifar(name: str) -> DataSet:
    """Random images and labels in the numbers and shapes of ``cifar10`` or ``cifar100``, for what depends on shapes alone."""
    import numpy as np

    layout, random = CIFAR[name], np.random.default_rng(0)
    images, labels = (random.integers(0, high, shape, dtype=np.uint8) for high, shape in ((256, (60_000, 32, 32, 3)), (layout.classes, 60_000)))
    train, test = slice(50_000), slice(50_000, None)
    targets = labels.astype(np.int64)
    return DataSet(name, images[train], targets[train], images[test], targets[test], layout.mean, layout.std, 255.0, 4, True, "made up")


def check_cifar(name: str, data_root: str | None, validation: int) -> list[str]:
    """Read all files; raises as :func:`load_cifar` and :func:`kdarena.tracks.rows.check_labels` do, and returns the latter's lines."""
    found = load_cifar(name, data_root)
    where = str(Path(str(data_root)) / CIFAR[name].folder)
    names = [str(label) for label in range(CIFAR[name].classes)]
    return check_labels(found.train_labels.tolist(), found.test_labels.tolist(), names, where, validation=validation)


def read_split(name: str, data_root: str | None, split: Literal["train", "test"]) -> np.ndarray:
    """The images of one split alone [N, 32, 32, 3]; raises as :func:`load_cifar` does."""
    layout = CIFAR[name]
    folder = Path(str(data_root)) / layout.folder
    files = layout.train if split == "train" else layout.test
    absent = next((file for file in files if data_root is None or not (folder / file).is_file()), None)
    if absent:
        raise ValueError(f"{folder / absent} is missing: give --data-root DIR")
    return _read_files(folder, layout, files)[0]


@functools.lru_cache(maxsize=2)
def _read_cifar(name: str, folder: str, stamps: tuple[tuple[int, int], ...]) -> DataSet:
    layout = CIFAR[name]
    train_images, train_labels, original = _read_files(Path(folder), layout, layout.train)
    test_images, test_labels, test_original = _read_files(Path(folder), layout, layout.test)
    digest = _digest(train_images, train_labels, test_images, test_labels)
    if not (original and test_original):
        warnings.warn(
            f"{folder}: not the original files of {name} (md5 differs, the order of rows may too); loaded with digest {digest}", category=Notice, stacklevel=4
        )
    return DataSet(
        name=name,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        mean=layout.mean,
        std=layout.std,
        peak=255.0,
        padding=4,
        flip=True,
        digest=digest,
        labels=_names(Path(folder), layout),
    )


def _names(folder: Path, layout: Layout) -> tuple[str, ...]:
    """Names of the classes, where the file that has them is there and is what it should be."""
    path = folder / layout.names[0]
    try:
        with path.open("rb") as opened:
            found = _unpickle(opened, path).get(layout.names[1])
    except (OSError, ValueError):
        return ()
    return tuple(map(str, found)) if isinstance(found, list) and len(found) == layout.classes else ()


def _read_files(folder: Path, layout: Layout, files: Mapping[str, str]) -> tuple[np.ndarray, np.ndarray, bool]:
    """Images [N, 32, 32, 3], labels [N], and whether all files are the originals."""
    import numpy as np

    images, labels, original = [], [], True
    for file, md5 in files.items():
        path = folder / file
        with path.open("rb") as opened:
            original &= hashlib.file_digest(opened, "md5").hexdigest() == md5
            opened.seek(0)
            content = _unpickle(opened, path)
        pixels, targets = content.get("data"), content.get(layout.labels)
        if not (isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.ndim == 2 and pixels.shape[1] == 3 * 32 * 32):
            raise ValueError(f"{path}: 'data' has to be bytes of shape (N, 3072)")
        if not (isinstance(targets, list) and len(targets) == len(pixels) and all(type(label) is int and 0 <= label < layout.classes for label in targets)):
            raise ValueError(f"{path}: {layout.labels!r} has to be a list of {len(pixels)} classes below {layout.classes}")
        images.append(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        labels.append(np.asarray(targets, dtype=np.int64))
    return np.ascontiguousarray(np.concatenate(images)), np.concatenate(labels), original


class _PlainUnpickler(pickle.Unpickler):
    """Builds arrays and plain values, and nothing else: the constructors that numpy's own pickles name, no other."""

    def find_class(self, module: str, name: str) -> Any:
        import codecs

        import numpy as np
        from numpy._core import multiarray, numeric

        reconstruct: Any = multiarray._reconstruct  # type: ignore[attr-defined,unused-ignore]
        from_buffer: Any = numeric._frombuffer  # type: ignore[attr-defined,unused-ignore]
        allowed: dict[tuple[str, str], Any] = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype, ("_codecs", "encode"): codecs.encode}
        for core in ("numpy.core", "numpy._core"):
            allowed[f"{core}.multiarray", "_reconstruct"] = reconstruct
            allowed[f"{core}.numeric", "_frombuffer"] = from_buffer
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"it wants to call {module}.{name}")
        return allowed[module, name]


def _unpickle(file: BinaryIO, path: Path) -> dict[str, Any]:
    try:
        content = _PlainUnpickler(file, encoding="latin1").load()
    except Exception as error:
        raise ValueError(f"{path}: not a file of the python layout: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: not a file of the python layout: it holds no dictionary")
    return {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in content.items()}


def _digest(*arrays: np.ndarray) -> str:
    hashed = hashlib.sha256()
    for array in arrays:
        hashed.update(f"{array.dtype}{array.shape}".encode())
        hashed.update(array.tobytes())
    return hashed.hexdigest()[:16]
