"""Pascal VOC 2012's boxes: ``VOCdevkit/VOC2012`` below the data root, as torchvision reads it. Neither torch nor torchvision is imported before a function is called.

The official validation part is the test here, and each seed holds out others of the official training part for validation. A box is annotated by its
first and last pixel, counted from 1. Objects that are marked as difficult are crowd regions: neither a positive nor a negative of the loss,
and neither right nor wrong to detect (Everingham et al. 2010, IJCV 88, where they don't count either).
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from kdarena.tracks.detection.data import Augmentation, BoxSet
from kdarena.tracks.detection.files import Box, Part, Picture, box_set, checked, digest_of
from kdarena.tracks.segmentation.benchmarks import VOC_CLASSES, VOC_FOLDER, missing_of_voc
from kdarena.tracks.segmentation.files import require

PARTS = {"train": 5717, "val": 5823}
"""Officially; of train :data:`VALIDATION` are held out."""
VALIDATION = 571
CLASSES = VOC_CLASSES[1:]
SIZE = (512, 512)
"""Rows and columns to which pictures are brought; none is larger than 500 x 500."""
SCALE = (0.8, 1.25)
"""The standard scale jitter (Ghiasi et al. 2021, arXiv 2012.07177)."""
DIGITS = 9
"""Of a number of pixels, at most."""
SIDES = ("xmin", "ymin", "xmax", "ymax")


def missing(data_root: str | None) -> str | None:
    """What of Pascal VOC is missing and how to get it, in one line; None where it is there."""
    return missing_of_voc(data_root, ("JPEGImages", "Annotations", *(f"ImageSets/Main/{part}.txt" for part in PARTS)))


def listed(data_root: str | None) -> dict[str, tuple[tuple[Path, Path], ...]]:
    """Picture and annotations of every sample of both parts, as torchvision lists them.

    Raises:
        ValueError: in one line: something is missing, or a list is not the official one.
    """
    from kdarena.tracks.torchvision import import_torchvision

    require(missing(data_root))
    parts = {}
    for part, size in PARTS.items():
        listing = import_torchvision().datasets.VOCDetection(data_root, year="2012", image_set=part)
        if len(listing) != size:
            raise ValueError(f"{data_root}/{VOC_FOLDER}/ImageSets/Main/{part}.txt: it lists {len(listing)} images, officially {size}; restore it")
        parts[part] = tuple((Path(image), Path(annotations)) for image, annotations in zip(listing.images, listing.annotations, strict=True))
    return parts


def digest(data_root: str | None) -> str:
    """See :func:`kdarena.tracks.detection.files.digest_of`."""
    every = [pair for part in listed(data_root).values() for pair in part]
    return digest_of(Path(str(data_root)), (annotations for _, annotations in every), (image for image, _ in every))


def read(data_root: str | None) -> BoxSet:
    """Pascal VOC 2012 below a data root, every annotation checked; pictures are looked at by :func:`check`.

    Raises:
        ValueError: in one line that names the file: an annotation can't be used, a picture is missing, or a list is not the official one.
    """
    train, test = (_part(f"{data_root}/{VOC_FOLDER}/ImageSets/Main/{part}.txt", pairs) for part, pairs in listed(data_root).items())
    return box_set("voc-boxes", train, test, CLASSES, SIZE, Augmentation(SIZE, SCALE))


def check(data_root: str | None) -> tuple[str, ...]:
    """See :attr:`kdarena.tracks.card.TaskCard.check`."""
    return checked(read(data_root))


def _part(listing: str, pairs: tuple[tuple[Path, Path], ...]) -> Part:
    pictures: list[Picture] = []
    boxes: list[list[tuple[float, ...]]] = []
    without_area: list[str] = []
    known: set[Path] = set()
    for path, annotated in pairs:
        if path in known:
            raise ValueError(f"{listing}: {path.stem!r} is there twice; remove one")
        known.add(path)
        root = _root(annotated)
        pictures.append(Picture(path, _pixels(annotated, root, "height"), _pixels(annotated, root, "width"), str(annotated)))
        boxes.append([])
        for number, item in enumerate(root.findall("object"), start=1):
            where = f"{annotated}: object {number}"
            box = _box(where, item).within(pictures[-1], where)
            if box is None:
                without_area.append(where)
            else:
                boxes[-1].append(box)
    return Part(listing, pictures, boxes, without_area)


def _root(annotated: Path) -> ElementTree.Element:
    try:
        root = ElementTree.parse(annotated).getroot()
    except OSError as error:
        raise ValueError(f"{annotated}: it can't be read ({error.strerror}); restore it, or take it out of the list") from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise ValueError(f"{annotated}: it is no XML ({error}); restore it") from None
    if root.tag != "annotation":
        raise ValueError(f"{annotated}: its root is {root.tag!r}, not 'annotation'; restore it")
    return root


def _pixels(annotated: Path, root: ElementTree.Element, side: str) -> int:
    text = (root.findtext(f"size/{side}") or "").strip()
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS and int(text) > 0):
        raise ValueError(f"{annotated}: its size has the {side} {text[:40]!r}, not a number of pixels; correct it")
    return int(text)


def _box(where: str, item: ElementTree.Element) -> Box:
    name = (item.findtext("name") or "").strip()
    if name not in CLASSES:
        raise ValueError(f"{where}: its name {name!r} is no class of Pascal VOC; known: {', '.join(CLASSES)}")
    difficult = (item.findtext("difficult") or "0").strip()
    if difficult not in ("0", "1"):
        raise ValueError(f"{where}: its difficult {difficult!r} is neither 0 nor 1; correct it")
    try:
        left, top, right, bottom = (float(item.findtext(f"bndbox/{side}") or "") for side in SIDES)
    except ValueError:
        raise ValueError(f"{where}: its bndbox has no numbers {', '.join(SIDES)}; correct it") from None
    # from the first pixel's edge to behind the last one's
    return Box((left - 1, top - 1, right, bottom), CLASSES.index(name), difficult == "1")
