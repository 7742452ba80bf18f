"""What tests of detection share: the embedded task, boxes in random places, and small sets of files in the layouts of COCO and Pascal VOC."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from tracks.detection.layouts import Content, write_coco, write_voc

from kdarena.tracks import find_card, load_task
from kdarena.tracks.detection import coco, voc
from kdarena.tracks.detection.task import DetectionTask
from kdarena.tracks.values import Setting


@pytest.fixture(scope="session")
def boxes_task() -> DetectionTask:
    task = load_task(find_card("scenes-boxes"), Setting())
    assert isinstance(task, DetectionTask)
    return task


@pytest.fixture
def random_targets() -> Callable[..., Tensor]:
    """Makes targets [B, M, 6] of boxes of many sizes in images of 64 pixels, with crowd regions and padding."""

    def made(batch: int, lines: int, classes: int = 4, seed: int = 0) -> Tensor:
        random = torch.Generator().manual_seed(seed)
        centre = 64 * torch.rand(batch, lines, 2, generator=random)
        size = 4 + 56 * torch.rand(batch, lines, 2, generator=random) ** 2
        sides = torch.cat([centre - size / 2, centre + size / 2], dim=2).clamp(0, 64)
        labels = torch.randint(classes, (batch, lines, 1), generator=random)
        flags = torch.tensor([1, 1, 1, 2, 0])[torch.randint(5, (batch, lines, 1), generator=random)]
        return torch.cat([sides, labels, flags], dim=2).float() * (flags > 0)

    return made


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
