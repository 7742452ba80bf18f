"""The real CIFAR-100: some of its images in every run of the tests, all of them where the slow ones are asked for."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from kdarena.tracks.classification.cards import card
from kdarena.tracks.classification.data import load_cifar
from kdarena.tracks.values import Setting, Split

pytestmark = pytest.mark.filterwarnings("ignore:.*not the original files")


@pytest.fixture(scope="module")
def shared() -> Path:
    found = Path(os.environ.get("KDARENA_DATA") or Path(__file__).parents[4] / "shared" / "data")
    if not (found / "cifar100").is_dir():
        pytest.skip(f"the real CIFAR-100 is not at {found}; set KDARENA_DATA to the folder of unpack_cifar.py")
    return found


@pytest.fixture(scope="module")
def some_of_it(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thousand training and five hundred test images of all classes in the python layout."""
    from PIL import Image

    out = tmp_path_factory.mktemp("cifar")
    (out / "cifar-100-python").mkdir()
    for part, stride in (("train", 50), ("test", 20)):
        packed = np.load(shared / "cifar100" / f"cifar100_{part}.npz")
        encoded, offsets = packed["webp"].tobytes(), packed["offsets"]
        chosen = range(0, len(offsets) - 1, stride)
        pixels = [np.asarray(Image.open(io.BytesIO(encoded[offsets[row] : offsets[row + 1]])).convert("RGB")) for row in chosen]
        content = {
            "data": np.stack(pixels).transpose(0, 3, 1, 2).reshape(len(pixels), -1),
            "fine_labels": [int(packed["fine_labels"][row]) for row in chosen],
        }
        (out / "cifar-100-python" / part).write_bytes(pickle.dumps(content, protocol=4))
    return out


def test_real_images_have_the_channels_means_that_they_are_normalised_by(some_of_it: Path):
    found = load_cifar("cifar100", str(some_of_it))
    assert found.train_images.shape == (1000, 32, 32, 3) and found.test_images.shape == (500, 32, 32, 3)
    assert len(set(found.train_labels.tolist())) == 100
    mean = found.train_images.reshape(-1, 3).mean(axis=0) / 255
    assert np.abs(mean - found.mean).max() < 0.02


def test_a_student_learns_from_real_images(some_of_it: Path):
    chosen = card("cifar100:resnet14-resnet8")
    task = chosen.load(chosen, Setting(data_root=str(some_of_it)))
    network = task.new_network(chosen.student).train()
    optimizer = task.optimizer(network.parameters(), lr=0.05, weight_decay=5e-4)
    losses = []
    for batch in islice(task.batches(Split(0, "published"), "augmented"), 20):
        loss = task.loss(task.forward(network, batch.inputs), batch.targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert 0 <= task.evaluate(network, "test", Split(0, "published"))["top1"] < 30


@pytest.mark.slow
def test_all_of_it_loads_with_its_balance_and_its_splits(shared: Path, tmp_path: Path):
    subprocess.run([sys.executable, str(shared / "unpack_cifar.py"), str(shared), str(tmp_path)], check=True, capture_output=True)
    found = load_cifar("cifar100", str(tmp_path))
    assert np.bincount(found.train_labels).tolist() == [500] * 100 and np.bincount(found.test_labels).tolist() == [100] * 100
    mean = found.train_images.reshape(-1, 3).mean(axis=0) / 255
    assert np.abs(mean - found.mean).max() < 2e-4
    task = card("cifar100").load(card("cifar100"), Setting(data_root=str(tmp_path)))
    assert [task.size(part, Split(0)) for part in ("train", "validation", "test")] == [45_000, 5_000, 10_000]
    assert task.overlap == 10  # ten of its published test images are published as training images too
