"""Pascal VOC 2012 and Cityscapes, found by torchvision's own classes. Neither torch nor torchvision is imported before a function is called.

``VOCdevkit/VOC2012`` and ``cityscapes/{leftImg8bit,gtFine}`` below the data root, as torchvision reads them. Their test labels are not
public: the official validation part is the test here, and each seed holds out others of the official training part for validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kdarena.tracks.downloads import remedy
from kdarena.tracks.segmentation import files
from kdarena.tracks.segmentation.data import IGNORED, IMAGENET_MEAN, IMAGENET_STD, Augmentation, DenseSet
from kdarena.tracks.segmentation.files import Files, Labels, Pair

VOC_FOLDER = "VOCdevkit/VOC2012"
VOC_PARTS = {"train": 1464, "val": 1449}
VOC_SIZE = (512, 512)
"""No image is larger than 500 x 500; smaller ones are filled up with pixels that don't count."""
VOC_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
VOC_LABELS = Labels({**{label: label for label in range(len(VOC_CLASSES))}, IGNORED: IGNORED}, IGNORED)

CITYSCAPES_FOLDER = "cityscapes"
CROP = (512, 512)
"""Of Cityscapes' images (Liu et al. 2020, arXiv 1903.04197)."""
CITYSCAPES_PARTS = {"train": 2975, "val": 500}
CITYSCAPES_SIZE = (1024, 2048)
CITYSCAPES_IDS = 34
"""Values from 0 to 33 in the files of label ids, 255 in place of −1."""
CITYSCAPES_CLASSES = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain"),
    *("sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
)


def voc_missing(data_root: str | None) -> str | None:
    """What of Pascal VOC is missing for segmentation and how to get it, in one line; None where it is there."""
    return missing_of_voc(data_root, ("JPEGImages", "SegmentationClass", *(f"ImageSets/Segmentation/{part}.txt" for part in VOC_PARTS)))


def missing_of_voc(data_root: str | None, wanted: Sequence[str]) -> str | None:
    """Which of the files and folders that are wanted of Pascal VOC is missing first and how to get it, in one line; None where all are there."""
    to_do = remedy("voc", data_root, f"give --data-root DIR with {VOC_FOLDER}")
    if data_root is None:
        return f"no data root for {VOC_FOLDER}: {to_do}"
    absent = [path for path in (Path(data_root) / VOC_FOLDER / name for name in wanted) if not path.exists()]
    return f"{absent[0]} is missing: {to_do}" if absent else None


def cityscapes_missing(data_root: str | None) -> str | None:
    """What of Cityscapes is missing and how to get it, in one line; None where it is there."""
    to_do = "give --data-root DIR with cityscapes/leftImg8bit and cityscapes/gtFine of www.cityscapes-dataset.com, unpacked"
    if data_root is None:
        return f"no data root for {CITYSCAPES_FOLDER}: {to_do}"
    wanted = [Path(data_root) / CITYSCAPES_FOLDER / kind / part for kind in ("leftImg8bit", "gtFine") for part in CITYSCAPES_PARTS]
    absent = [path for path in wanted if not path.is_dir()]
    return f"{absent[0]} is missing: {to_do}" if absent else None


def voc_pairs(data_root: str | None) -> dict[str, tuple[Pair, ...]]:
    """Images and masks of both parts, as torchvision lists them; raises ``ValueError`` in one line where something is missing."""
    from kdarena.tracks.torchvision import import_torchvision

    files.require(voc_missing(data_root))
    pairs = {}
    for part, size in VOC_PARTS.items():
        listing = import_torchvision().datasets.VOCSegmentation(data_root, year="2012", image_set=part)
        every = [Pair(Path(image), Path(mask), f"{part}.txt") for image, mask in zip(listing.images, listing.masks, strict=True)]
        pairs[part] = files.complete(every, size, f"{data_root}/{VOC_FOLDER}, {part}.txt")
    return pairs


def cityscapes_pairs(data_root: str | None) -> dict[str, tuple[Pair, ...]]:
    """Images and masks of label ids of both parts by name, as torchvision lists them; raises ``ValueError`` as :func:`voc_pairs` does."""
    from kdarena.tracks.torchvision import import_torchvision

    files.require(cityscapes_missing(data_root))
    folder, pairs = str(Path(str(data_root)) / CITYSCAPES_FOLDER), {}
    for part, size in CITYSCAPES_PARTS.items():
        listing = import_torchvision().datasets.Cityscapes(folder, split=part, mode="fine", target_type="semantic")
        every = [Pair(Path(image), Path(targets[0]), f"leftImg8bit/{part}") for image, targets in zip(listing.images, listing.targets, strict=True)]
        pairs[part] = files.complete(sorted(every, key=lambda pair: pair.image), size, f"{folder}/leftImg8bit/{part}")
    return pairs


def cityscapes_labels() -> Labels:
    """Of torchvision's table: the training id of each label id, 255 where it is not evaluated."""
    from kdarena.tracks.torchvision import import_torchvision

    table = import_torchvision().datasets.Cityscapes.classes
    known = {one.id: one.train_id if one.train_id in range(len(CITYSCAPES_CLASSES)) else IGNORED for one in table if 0 <= one.id < CITYSCAPES_IDS}
    return Labels({**known, IGNORED: IGNORED}, IGNORED)


def voc_digest(data_root: str | None) -> str:
    """See :func:`kdarena.tracks.segmentation.files.digest`."""
    return files.digest(data_root, voc_pairs(data_root))


def cityscapes_digest(data_root: str | None) -> str:
    """See :func:`kdarena.tracks.segmentation.files.digest`."""
    return files.digest(data_root, cityscapes_pairs(data_root))


def read_voc(data_root: str | None) -> DenseSet:
    """Pascal VOC 2012 below a data root, every mask checked; raises ``ValueError`` in one line that names the file."""
    train, test = (Files(pairs, VOC_LABELS, VOC_SIZE, fill=True) for pairs in voc_pairs(data_root).values())
    return _checked("voc", train, test, VOC_CLASSES, VOC_SIZE)


def read_cityscapes(data_root: str | None) -> DenseSet:
    """Cityscapes below a data root, every mask checked; raises ``ValueError`` in one line that names the file."""
    train, test = (Files(pairs, cityscapes_labels(), CITYSCAPES_SIZE) for pairs in cityscapes_pairs(data_root).values())
    return _checked("cityscapes", train, test, CITYSCAPES_CLASSES, CROP)


def _checked(name: str, train: Files, test: Files, classes: tuple[str, ...], crop: tuple[int, int]) -> DenseSet:
    train.check()
    test.check()
    return DenseSet(name, train, test, False, classes, IMAGENET_MEAN, IMAGENET_STD, Augmentation(crop))
