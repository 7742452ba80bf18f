"""A JSON file of instances in COCO's format: each entry is checked, and the first that can't be used is named by file and id."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, TypeGuard

from kdarena.tracks.detection.files import Box, Picture

LISTS = ("images", "annotations", "categories")
LARGEST = 2**53
"""Of whole numbers that are the same in floating point."""
Id = int | str


@dataclass(frozen=True, eq=False)
class Instances:
    """What a file lists.

    Attributes:
        listing: the file.
        names: of the categories, by ascending id; the place of a name is the number of its class.
        ids: of the categories, ascending.
        pictures: in the file's order.
        boxes: of each picture, as :meth:`Box.within` gives them.
        without_area: where boxes of no area are listed, which are left out.
    """

    listing: Path
    names: tuple[str, ...]
    ids: tuple[Id, ...]
    pictures: tuple[Picture, ...]
    boxes: tuple[list[tuple[float, ...]], ...]
    without_area: tuple[str, ...]


def read_instances(listing: Path, folder: Path) -> Instances:
    """A file and the pictures that it lists in a folder; the pictures are not looked at.

    Raises:
        ValueError: in one line that names the file, and the id of what is wrong in it.
    """
    images, annotations, categories = _lists(listing)
    known = _by_id(listing, "category", categories)
    ids = tuple(sorted(known, key=lambda each: (isinstance(each, str), each)))
    names = _names(listing, {each: known[each] for each in ids})
    pictures = {each: _picture(f"{listing}: image {each!r}", image, folder) for each, image in _by_id(listing, "image", images).items()}
    if not pictures:
        raise ValueError(f"{listing}: it lists no images; restore it")
    _check_files(listing, pictures)
    classes = {each: number for number, each in enumerate(ids)}
    boxes: dict[Id, list[tuple[float, ...]]] = {each: [] for each in pictures}
    without_area = []
    for each, annotation in _by_id(listing, "annotation", annotations).items():
        where = f"{listing}: annotation {each!r}"
        image = annotation.get("image_id")
        if not _is_id(image) or image not in pictures:
            raise ValueError(f"{where}: its image_id {_shown(image)} is not among the images; remove the annotation, or add the image")
        box = _box(where, annotation, classes).within(pictures[image], where)
        if box is None:
            without_area.append(where)
        else:
            boxes[image].append(box)
    return Instances(listing, names, ids, tuple(pictures.values()), tuple(boxes.values()), tuple(without_area))


def _lists(listing: Path) -> list[list[Any]]:
    """The three lists of a file."""
    try:
        content = json.loads(listing.read_bytes())
    except OSError as error:
        raise ValueError(f"{listing}: it can't be read ({error.strerror}); restore it") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{listing}: it is no JSON ({' '.join(str(error).split())}); restore it") from None
    if not isinstance(content, dict):
        raise ValueError(f"{listing}: it is no object with the lists {', '.join(LISTS)}; save it in COCO's format for instances")
    for name in LISTS:
        if not isinstance(content.get(name), list):
            what = "is no list" if name in content else "is missing"
            raise ValueError(f"{listing}: {name} {what}; save it in COCO's format for instances, with {', '.join(LISTS)}")
    return [content[name] for name in LISTS]


def _by_id(listing: Path, kind: str, entries: Sequence[Any]) -> dict[Id, dict[str, Any]]:
    """Entries by their ids."""
    known: dict[Id, dict[str, Any]] = {}
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict) or not _is_id(entry.get("id")):
            raise ValueError(f"{listing}: {kind} number {number} of its list has no id that is a whole number or a text; add one")
        if entry["id"] in known:
            raise ValueError(f"{listing}: {kind} {entry['id']!r}: this id is there twice; give each {kind} an id of its own")
        known[entry["id"]] = entry
    return known


def _names(listing: Path, categories: Mapping[Id, Mapping[str, Any]]) -> tuple[str, ...]:
    names: dict[str, Id] = {}
    for each, category in categories.items():
        name = category.get("name")
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"{listing}: category {each!r} has no name; add one")
        if name in names:
            raise ValueError(f"{listing}: category {each!r}: its name {name!r} is that of category {names[name]!r} too; make them one, or rename one")
        names[name] = each
    if not names:
        raise ValueError(f"{listing}: it lists no categories; add those of its annotations")
    return tuple(names)


def _picture(where: str, image: Mapping[str, Any], folder: Path) -> Picture:
    name, height, width = image.get("file_name"), image.get("height"), image.get("width")
    if not isinstance(name, str) or not name or "\0" in name:
        raise ValueError(f"{where} has no file_name; add it")
    path = PurePosixPath(name)
    if path.is_absolute() or PureWindowsPath(name).is_absolute() or ".." in path.parts:
        raise ValueError(f"{where}: its file_name {name!r} leads out of {folder}; give it relative to that folder")
    for side in (height, width):
        if not isinstance(side, int) or isinstance(side, bool) or side < 1:
            raise ValueError(f"{where}: height and width have to be pixels, these are {_shown(height)} and {_shown(width)}; correct them")
    assert isinstance(height, int) and isinstance(width, int)
    return Picture(folder / path, height, width, f"{where}")


def _check_files(listing: Path, pictures: Mapping[Id, Picture]) -> None:
    """Raises ``ValueError`` where two images are one file."""
    known: dict[Path, Id] = {}
    for each, picture in pictures.items():
        if picture.path in known:
            raise ValueError(f"{listing}: images {known[picture.path]!r} and {each!r} have one file_name, {picture.path.name!r}; make them one image")
        known[picture.path] = each


def _box(where: str, annotation: Mapping[str, Any], classes: Mapping[Id, int]) -> Box:
    category, box, crowd, area = (annotation.get(key) for key in ("category_id", "bbox", "iscrowd", "area"))
    if not _is_id(category) or category not in classes:
        raise ValueError(f"{where}: its category_id {_shown(category)} is not among the categories; correct it, or add the category")
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        raise ValueError(f"{where}: its bbox {_shown(box)} is not four numbers, which are x, y, width and height in pixels; correct it")
    if crowd not in (None, 0, 1):
        raise ValueError(f"{where}: its iscrowd {_shown(crowd)} is neither 0 nor 1; correct it")
    if area is not None and not (_is_number(area) and 0 <= area < float("inf")):
        raise ValueError(f"{where}: its area {_shown(area)} is no number of square pixels; correct it, or leave it out")
    x, y, width, height = map(float, box)
    return Box((x, y, x + width, y + height), classes[category], crowd == 1, None if area is None else float(area))


def _is_id(value: object) -> TypeGuard[Id]:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST)


def _shown(value: object) -> str:
    """A value of the file in a few characters of one line."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…"
