"""Resident and streamed sets give the same batches, and streams clean up behind themselves."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from kdarena.tracks.classification.batches import Pass, Resident, Streaming, batches
from kdarena.tracks.values import Batch

CPU = torch.device("cpu")
RANDOM = np.random.RandomState(0)
IMAGES = RANDOM.randint(0, 256, (50, 6, 6, 3)).astype(np.uint8)
LABELS = RANDOM.randint(0, 10, 50).astype(np.int64)


def passes(count: int) -> Iterator[Pass]:
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        rows = torch.randperm(50, generator=generator)
        yield Pass(rows, rows, torch.randint(0, 3, (50, 3), generator=generator))


def cut(source: Resident | Streaming, count: int = 3, size: int = 8) -> Iterator[Batch]:
    return batches(source, passes(count), size, 108, lambda chunk: chunk.images.float() + chunk.drawn.sum(dim=1)[:, None, None, None], CPU)


@pytest.mark.parametrize("mapped", [False, True], ids=["host memory", "memory-mapped"])
def test_streamed_batches_are_the_resident_ones(tmp_path: Path, mapped: bool):
    images = IMAGES
    if mapped:
        np.save(tmp_path / "images.npy", IMAGES)
        images = np.load(tmp_path / "images.npy", mmap_mode="r")
    for resident, streamed in zip(cut(Resident(IMAGES, LABELS, CPU)), cut(Streaming(images, LABELS, CPU)), strict=True):
        assert torch.equal(resident.inputs, streamed.inputs)
        assert torch.equal(resident.targets, streamed.targets)
        assert torch.equal(resident.index, streamed.index)


def test_a_pass_ends_with_its_smaller_batch():
    assert [len(batch.targets) for batch in cut(Resident(IMAGES, LABELS, CPU), count=2, size=16)] == [16, 16, 16, 2] * 2


def test_batches_hold_the_images_and_labels_of_their_index():
    for batch in cut(Resident(IMAGES, LABELS, CPU)):
        assert batch.targets.tolist() == LABELS[batch.index.numpy()].tolist()
        shift = batch.inputs - torch.from_numpy(IMAGES[batch.index.numpy()]).float()
        assert torch.equal(shift, shift[:, :1, :1, :1].expand_as(shift))


def test_the_thread_of_a_stream_ends_when_the_batches_are_not_wanted_any_more(threads_ahead):
    stream = cut(Streaming(IMAGES, LABELS, CPU, prefetched=1), count=100)
    assert len(list(islice(stream, 3))) == 3
    assert threads_ahead()
    del stream
    assert not threads_ahead()


def test_the_thread_of_a_stream_ends_with_its_passes(threads_ahead):
    assert len(list(cut(Streaming(IMAGES, LABELS, CPU)))) == 21
    assert not threads_ahead()


def test_an_error_in_the_thread_is_raised_where_the_batches_are_used(threads_ahead):
    def broken() -> Iterator[Pass]:
        yield from passes(1)
        raise OSError("disk is gone")

    stream = batches(Streaming(IMAGES, LABELS, CPU), broken(), 8, 108, lambda chunk: chunk.images, CPU)
    with pytest.raises(OSError, match="disk is gone"):
        list(stream)
    assert not threads_ahead()
