"""The real CamVid, where it is: a few of its files in every run of the tests; a step at full size where the slow ones are asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kdarena.tracks.segmentation import camvid
from kdarena.tracks.segmentation.files import Files

MEMORY_GIB = 8


@pytest.fixture(scope="module")
def shared() -> Path:
    found = Path(os.environ.get("KDARENA_DATA") or Path(__file__).parents[4] / "shared" / "data") / "segmentation"
    if not (found / camvid.FOLDER).is_dir():
        pytest.skip(f"the real CamVid is not at {found}; set KDARENA_DATA to the folder above segmentation/CamVid")
    return found


def test_the_official_lists_name_files_that_are_there(shared: Path):
    listed = camvid.listed(str(shared))
    assert {part: len(pairs) for part, pairs in listed.items()} == {"train": 367, "val": 101, "test": 233}
    assert all(pair.image.is_file() and pair.target.is_file() for pairs in listed.values() for pair in pairs)
    names = [{pair.image.name for pair in pairs} for pairs in listed.values()]
    assert len(set.union(*names)) == 367 + 101 + 233


def test_images_and_masks_are_read_at_their_size_with_eleven_classes(shared: Path):
    images, masks = Files(camvid.listed(str(shared))["test"], camvid.LABELS, camvid.SIZE).read(range(0, 233, 16))
    assert images.shape[1:] == (360, 480, 3) and masks.shape[1:] == (360, 480)
    assert set(np.unique(masks)) == {*range(11), 255}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_step_of_eight_images_with_the_default_teacher_fits_the_memory(shared: Path):
    """In a process of its own, whose largest resident size is that of the whole job: data, teacher, student, optimiser."""
    code = (
        "import resource, torch; torch.set_num_threads(2)\n"
        "from kdarena import losses\n"
        "from kdarena.tracks import card\n"
        "from kdarena.tracks.task import Setting\n"
        "listed = card('camvid')\n"
        f"task = listed.load(listed, Setting(data_root={str(shared)!r}))\n"
        "teacher, student = task.new_network(listed.teacher).eval(), task.new_network(listed.student).train()\n"
        "optimizer = task.optimizer(student.parameters(), lr=0.01, weight_decay=5e-4)\n"
        "batch = next(task.batches(0, 'validated', 'augmented'))\n"
        "assert batch.inputs.shape == (8, 3, 360, 480), batch.inputs.shape\n"
        "with torch.no_grad(): theirs = task.forward(teacher, batch.inputs)\n"
        "ours = task.forward(student, batch.inputs)\n"
        "loss = task.loss(ours, batch.targets) + losses.kl(task.rows(theirs)[0], task.rows(ours)[0])\n"
        "loss.backward(); optimizer.step()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < MEMORY_GIB
