"""Small sets of files in the layouts of COCO and Pascal VOC."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tracks.detection.layouts import Content, write_coco, write_voc

from kdarena.tracks.detection import coco, voc


@pytest.fixture
def small_coco(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with a COCO whose official sizes are small."""
    monkeypatch.setattr(coco, "PARTS", {"train2017": 4, "val2017": 3})
    monkeypatch.setattr(coco, "CLASSES", 3)
    monkeypatch.setattr(coco, "SIZE", (32, 32))
    write_coco(tmp_path)
    return tmp_path


@pytest.fixture
def changed(small_coco: Path) -> Callable[[Callable[[Content], object]], Path]:
    """Change the annotations of train; returns the data root."""

    def change(how: Callable[[Content], object]) -> Path:
        listing = small_coco / coco.FOLDER / "annotations" / "instances_train2017.json"
        content = json.loads(listing.read_text())
        how(content)
        listing.write_text(json.dumps(content))
        return small_coco

    return change


@pytest.fixture
def small_voc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with a Pascal VOC whose official sizes are small."""
    monkeypatch.setattr(voc, "PARTS", {"train": 3, "val": 2})
    monkeypatch.setattr(voc, "SIZE", (64, 64))
    write_voc(tmp_path)
    return tmp_path
