"""Writes small sets of files in the layouts of COCO and Pascal VOC."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kdarena.tracks.detection import coco, voc

Content = dict[str, Any]
CATEGORIES = [{"id": 3, "name": "car"}, {"id": 1, "name": "person"}, {"id": 90, "name": "toothbrush"}]


def save_picture(path: Path, height: int, width: int, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)).save(path)


def coco_content(numbers: range) -> Content:
    """Pictures of 40 x 60 pixels, the first with two boxes, the last with none."""
    images = [{"id": 10 * number, "file_name": f"{number:03}.png", "height": 40, "width": 60} for number in numbers]
    annotations = [
        {"id": 100 * number, "image_id": 10 * number, "category_id": 1, "bbox": [5, 10, 20, 15], "area": 200.0, "iscrowd": 0} for number in numbers[:-1]
    ]
    first = 10 * numbers[0]
    annotations.append({"id": 7 + first, "image_id": first, "category_id": 90, "bbox": [30, 5, 10, 30], "area": 300.0, "iscrowd": 0})
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


def write_coco(root: Path) -> Path:
    folder = root / coco.FOLDER
    for part, numbers in (("train2017", range(1, 5)), ("val2017", range(5, 8))):
        for number in numbers:
            save_picture(folder / part / f"{number:03}.png", 40, 60, number)
        listing = folder / "annotations" / f"instances_{part}.json"
        listing.parent.mkdir(exist_ok=True)
        listing.write_text(json.dumps(coco_content(numbers)))
    return folder


def voc_xml(objects: str, height: int = 40, width: int = 60) -> str:
    return f"<annotation><filename>x.jpg</filename><size><width>{width}</width><height>{height}</height><depth>3</depth></size>{objects}</annotation>"


def voc_object(name: str = "dog", box: tuple[object, ...] = (6, 11, 25, 25), further: str = "<difficult>0</difficult>") -> str:
    sides = "".join(f"<{side}>{value}</{side}>" for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return f"<object><name>{name}</name>{further}<bndbox>{sides}</bndbox></object>"


def write_voc(root: Path) -> Path:
    folder = root / voc.VOC_FOLDER
    for part, numbers in (("train", range(1, 4)), ("val", range(4, 6))):
        for number in numbers:
            save_picture(folder / "JPEGImages" / f"2008_{number:06}.jpg", 40, 60, number)
            annotations = folder / "Annotations" / f"2008_{number:06}.xml"
            annotations.parent.mkdir(exist_ok=True)
            annotations.write_text(voc_xml(voc_object() + voc_object("cat", (1, 1, 60, 40), "<difficult>1</difficult>")))
        listing = folder / "ImageSets" / "Main" / f"{part}.txt"
        listing.parent.mkdir(parents=True, exist_ok=True)
        listing.write_text("".join(f"2008_{number:06}\n" for number in numbers))
    return folder
