"""NYU Depth v2 in the layout of its official parts, as depth networks read it: 795 and 654 labelled images with distances.

Below the data root ``nyu_depth_v2/official_splits/{train,test}/SCENE/rgb_NUMBER.jpg`` with ``sync_depth_NUMBER.png`` next to it,
16 bits in millimetres, 480 x 640 pixels: what ``extract_official_train_test_set_from_mat.py`` of the public BTS code (Lee et al. 2019,
arXiv 1907.10326) writes from the labelled file of Silberman et al. (2012). Nothing here imports torch.
"""

from __future__ import annotations

from pathlib import Path

from kdarena.tracks.segmentation import files
from kdarena.tracks.segmentation.data import IMAGENET_MEAN, IMAGENET_STD, Augmentation, DenseSet
from kdarena.tracks.segmentation.files import Distances, Files, Pair

FOLDER = "nyu_depth_v2/official_splits"
PARTS = {"train": 795, "test": 654}
SIZE = (480, 640)
UNIT = 0.001
LARGEST = 10.0
EIGEN_WINDOW = (slice(45, 471), slice(41, 601))
"""Rows and columns that are evaluated (Eigen et al. 2014, arXiv 1406.2283): the sensor knows nothing beyond."""
CROP = (416, 544)
"""Of the public BTS code."""


def missing(data_root: str | None) -> str | None:
    """What is missing and how to get it, in one line; None where the folders are there."""
    remedy = f"give --data-root DIR with {FOLDER}/{{train,test}}/SCENE/rgb_*.jpg and sync_depth_*.png"
    if data_root is None:
        return f"no data root for {FOLDER}: {remedy}"
    absent = [path for part in PARTS if not (path := Path(data_root) / FOLDER / part).is_dir()]
    return f"{absent[0]} is missing: {remedy}" if absent else None


def pairs(folder: Path, part: str) -> tuple[Pair, ...]:
    """Images and pictures of distances of a part, by scene and number."""
    images = sorted((folder / part).glob("*/rgb_*.jpg"))
    return tuple(Pair(image, image.with_name(f"sync_depth_{image.stem[4:]}.png"), f"{part}/{image.parent.name}") for image in images)


def listed(data_root: str | None) -> dict[str, tuple[Pair, ...]]:
    """The pairs of both parts; raises ``ValueError`` in one line where a folder is missing or not the official one."""
    files.require(missing(data_root))
    folder = Path(str(data_root)) / FOLDER
    return {part: files.complete(pairs(folder, part), size, str(folder / part)) for part, size in PARTS.items()}


def digest(data_root: str | None) -> str:
    """See :func:`kdarena.tracks.segmentation.files.digest`."""
    return files.digest(data_root, listed(data_root))


def read(data_root: str | None) -> DenseSet:
    """The data set below a data root, every file of it checked; raises ``ValueError`` in one line that names the file or folder."""
    pairs = listed(data_root)
    train, test = Files(pairs["train"], Distances(UNIT, LARGEST), SIZE), Files(pairs["test"], Distances(UNIT, LARGEST, EIGEN_WINDOW), SIZE)
    train.check()
    test.check()
    return DenseSet("nyuv2", train, test, False, (), IMAGENET_MEAN, IMAGENET_STD, Augmentation(CROP, (1.0, 1.5), nearer=True))
