"""Batches from a data set that lives on the device, or from one that is too large for it: the same batches either way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import repeat
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from kdarena.tracks.ahead import ahead
from kdarena.tracks.classification.selected import Images
from kdarena.tracks.values import Batch

PREFETCHED = 4
"""Chunks that a background thread may be ahead."""
CHUNK_VALUES = {"cpu": 2**18, "cuda": 2**22}
"""Values of a chunk, by kind of device: a CPU likes what fits into its cache, a GPU few and large kernels."""


@dataclass(frozen=True)
class Pass:
    """One pass over samples, or several of whole batches, drawn on the CPU.

    Attributes:
        rows: rows of the data set in the order of the pass [N].
        positions: the samples' positions in the training set [N].
        drawn: random numbers of the augmentation [N, k], or None where there is none.
        view: of each sample [N] (:attr:`kdarena.tracks.values.Batch.view`), or None.
    """

    rows: Tensor
    positions: Tensor
    drawn: Tensor | None
    view: Tensor | None = None


@dataclass(frozen=True)
class Chunk:
    """A stretch of a pass on the device: raw images [K, H, W, C], labels [K], positions [K], random numbers [K, k] or None, views [K] or None."""

    images: Tensor
    labels: Tensor
    positions: Tensor
    drawn: Tensor | None
    view: Tensor | None = None


class Source(Protocol):
    """Where raw images come from."""

    def chunks(self, passes: Iterable[Pass], size: int) -> Iterator[Chunk]:
        """All passes in stretches of ``size`` samples, a pass's last one smaller."""
        ...


class Resident:
    """All images live on the device as bytes."""

    def __init__(self, images: Images, labels: np.ndarray, device: torch.device):
        self._images = torch.from_numpy(np.asarray(images)).to(device).flatten(1)  # rows of bytes, so that selecting them copies memory
        self._shape = images.shape[1:]
        self._labels = torch.from_numpy(labels).to(device)
        self._device = device

    def chunks(self, passes: Iterable[Pass], size: int) -> Iterator[Chunk]:
        """See :class:`Source`. A pass's random numbers go to the device at once, so that no batch waits for a copy."""
        for each in passes:
            rows, positions = each.rows.to(self._device), each.positions.to(self._device)
            drawn, view = (None if numbers is None else numbers.to(self._device) for numbers in (each.drawn, each.view))
            for start in range(0, len(rows), size):
                part = slice(start, start + size)
                images = self._images.index_select(0, rows[part]).view(-1, *self._shape)
                labels = self._labels.index_select(0, rows[part])
                yield Chunk(images, labels, positions[part], _part(drawn, part), _part(view, part))


class Streaming:
    """Images stay in host memory or in a memory-mapped file; a background thread gathers ahead, into pinned memory for CUDA.

    The thread ends when the iterator is closed or collected.
    """

    def __init__(self, images: Images, labels: np.ndarray, device: torch.device, prefetched: int = PREFETCHED):
        self._images = images
        self._labels = torch.from_numpy(labels)
        self._device = device
        self._prefetched = prefetched

    def chunks(self, passes: Iterable[Pass], size: int) -> Iterator[Chunk]:
        """See :class:`Source`."""
        with closing(ahead(self._gathered(passes, size), self._prefetched)) as gathered:
            for chunk in gathered:
                yield self._to_device(chunk)

    def _gathered(self, passes: Iterable[Pass], size: int) -> Iterator[Chunk]:
        for each in passes:
            for start in range(0, len(each.rows), size):
                part = slice(start, start + size)
                images = torch.from_numpy(self._images[each.rows[part].numpy()])
                labels = self._labels[each.rows[part]]
                chunk = Chunk(images, labels, each.positions[part], _part(each.drawn, part), _part(each.view, part))
                yield _each_tensor(chunk, Tensor.pin_memory) if self._device.type == "cuda" else chunk

    def _to_device(self, chunk: Chunk) -> Chunk:
        if self._device.type == "cpu":
            return chunk
        return _each_tensor(chunk, lambda tensor: tensor.to(self._device, non_blocking=True))


def _each_tensor(chunk: Chunk, change: Callable[[Tensor], Tensor]) -> Chunk:
    drawn, view = (None if numbers is None else change(numbers) for numbers in (chunk.drawn, chunk.view))
    return Chunk(change(chunk.images), change(chunk.labels), change(chunk.positions), drawn, view)


def _part(numbers: Tensor | None, part: slice) -> Tensor | None:
    return None if numbers is None else numbers[part]


def batches(
    source: Source,
    passes: Iterable[Pass],
    batch_size: int,
    values: int,
    finish: Callable[[Chunk], Tensor],
    device: torch.device,
    mix: Callable[[Batch], Batch] = lambda batch: batch,
) -> Iterator[Batch]:
    """All passes in batches, a pass's last one smaller.

    Several batches are made at once and then cut apart, since for small images the calls cost more than the work.

    Args:
        values: numbers in one image.
        finish: makes a network's inputs of a chunk: augmentation and normalisation.
        mix: what is done to several batches one behind the other.
    """
    together = max(1, CHUNK_VALUES.get(device.type, CHUNK_VALUES["cuda"]) // (values * batch_size))
    for chunk in source.chunks(passes, together * batch_size):
        every = mix(Batch(finish(chunk), chunk.labels, chunk.positions, view=chunk.view))
        views, others, shares = (repeat(None) if part is None else part.split(batch_size) for part in (every.view, every.mixed_with, every.share))
        cut = zip(every.inputs.split(batch_size), every.targets.split(batch_size), every.index.split(batch_size), views, others, shares, strict=False)
        for images, labels, positions, view, other, share in cut:
            yield Batch(images, labels, positions, view=view, mixed_with=other, share=share)
