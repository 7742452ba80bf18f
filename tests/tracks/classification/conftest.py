"""Data for the track's tests: digits, and a small CIFAR of random pixels."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kdarena.tracks.classification.cards import card
from kdarena.tracks.classification.task import ClassificationTask
from kdarena.tracks.values import Setting


@pytest.fixture(scope="session")
def digits() -> ClassificationTask:
    task = card("digits").load(card("digits"), Setting())
    assert isinstance(task, ClassificationTask)
    return task


def write_cifar(root: Path, name: str, rows: int, protocol: int = 2) -> None:
    """The standard python layout with ``rows`` random images in each file."""
    random = np.random.RandomState(0)
    files = {"cifar100": ("cifar-100-python", ["train", "test"], "fine_labels", 100)}
    files["cifar10"] = ("cifar-10-batches-py", [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"], "labels", 10)
    folder, parts, key, classes = files[name]
    (root / folder).mkdir(parents=True)
    for part in parts:
        content = {
            "data": random.randint(0, 256, (rows, 3072)).astype(np.uint8),
            key: random.randint(0, classes, rows).tolist(),
            "filenames": [f"{part}{row}" for row in range(rows)],
            "batch_label": part,
        }
        (root / folder / part).write_bytes(pickle.dumps(content, protocol=protocol))


@pytest.fixture
def write() -> Callable[..., None]:
    return write_cifar


@pytest.fixture
def small_cifar(tmp_path: Path) -> Path:
    write_cifar(tmp_path, "cifar100", 120)
    return tmp_path
