"""Data for the track's tests: the embedded scenes, and small sets of files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdarena.tracks.segmentation import camvid, cards
from kdarena.tracks.segmentation.depth import DepthTask
from kdarena.tracks.segmentation.task import SegmentationTask
from kdarena.tracks.values import Setting


@pytest.fixture(scope="session")
def scenes_task() -> SegmentationTask:
    task = cards.card("scenes").load(cards.card("scenes"), Setting())
    assert isinstance(task, SegmentationTask)
    return task


@pytest.fixture(scope="session")
def depth_task() -> DepthTask:
    task = cards.card("scenes-depth").load(cards.card("scenes-depth"), Setting())
    assert isinstance(task, DepthTask)
    return task


PARTS = {"train": 5, "val": 2, "test": 3}


def write_camvid(root: Path) -> Path:
    """The tutorial's layout with a few small images of random pixels; returns the folder."""
    random = np.random.RandomState(0)
    folder = root / "CamVid"
    for part, count in PARTS.items():
        lines = []
        for number in range(count):
            image, mask = (folder / kind / f"{number:03}.png" for kind in (part, f"{part}annot"))
            for path in (image, mask):
                path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.randint(0, 256, (24, 32, 3)).astype(np.uint8)).save(image)
            Image.fromarray(random.randint(0, 12, (24, 32)).astype(np.uint8)).save(mask)
            lines.append(f"/SegNet/CamVid/{part}/{image.name} /SegNet/CamVid/{part}annot/{mask.name}")
        (folder / f"{part}.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def small_camvid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with a CamVid whose official sizes are small."""
    monkeypatch.setattr(camvid, "PARTS", PARTS)
    monkeypatch.setattr(camvid, "SIZE", (24, 32))
    write_camvid(tmp_path)
    return tmp_path


@pytest.fixture
def camvid_task(small_camvid: Path) -> Callable[[], SegmentationTask]:
    def load() -> SegmentationTask:
        listed = cards.card("camvid:pspnet-small-pspnet-tiny")
        card = replace(listed, train=5, validation=2, test=3, recipe=replace(listed.recipe, batch_size=2))
        task = card.load(card, Setting(data_root=str(small_camvid)))
        assert isinstance(task, SegmentationTask)
        return task

    return load
