"""What tests of detection share: the embedded task, and boxes in random places."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kdarena.tracks import find_card, load_task
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
