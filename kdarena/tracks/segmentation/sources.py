"""Where batches come from: samples that live on the device as bytes, or samples that are decoded ahead by a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from kdarena.tracks.segmentation.data import Samples
from kdarena.tracks.task import Batch

PREFETCHED = 3
"""Batches that a background thread may be ahead."""
RESIDENT_BYTES = 2 * 2**30
"""Samples that are kept on the device; larger sets stay where they are."""
READ_AT_ONCE = 32


class Source(Protocol):
    """Samples on a device."""

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Images [B, 3, H, W] of bytes and targets [B, H, W]."""
        ...


class Resident:
    """All samples live on the device as bytes; decoded once."""

    def __init__(self, samples: Samples, device: torch.device):
        images, targets = [], []
        for rows in torch.arange(len(samples)).split(READ_AT_ONCE):
            pictures, labels = samples.read(rows.tolist())
            images.append(torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous().to(device))
            targets.append(torch.from_numpy(labels).to(device))
        self._images, self._targets = torch.cat(images), torch.cat(targets)

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Source`."""
        rows = rows.to(self._images.device)
        return self._images.index_select(0, rows), self._targets.index_select(0, rows)


class Decoded:
    """Samples stay in files or in host memory and go to the device as they are asked for."""

    def __init__(self, samples: Samples, device: torch.device):
        self._samples, self._device = samples, device

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Source`."""
        images, targets = (torch.from_numpy(array) for array in self._samples.read(rows.tolist()))
        return images.to(self._device).permute(0, 3, 1, 2), targets.to(self._device)


def fits(samples: Samples) -> bool:
    """Whether samples are few enough to live on the device."""
    height, width = samples.size
    return len(samples) * height * width * 4 <= RESIDENT_BYTES


def ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches, made by a thread that is a few ahead; it ends when the iterator is closed or collected."""
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(PREFETCHED)
    closed = threading.Event()

    def put(item: Batch | BaseException | None) -> bool:
        # wait for room, but not for ever: the reader may have gone
        while not closed.is_set():
            try:
                ready.put(item, timeout=0.05)
                return True
            except queue.Full:
                continue
        return False

    def fill() -> None:
        try:
            for batch in batches:
                if not put(batch):
                    return
            put(None)
        except BaseException as error:
            put(error)

    worker = threading.Thread(target=fill, name="kdarena-decoding", daemon=True)
    worker.start()
    try:
        while (found := ready.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        closed.set()
        worker.join()
