"""Where samples come from: they live on the device as bytes, or are decoded as they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    import numpy as np

PREFETCHED = 3
"""Batches that a background thread may be ahead."""
RESIDENT_BYTES = 2 * 2**30
"""Samples that are kept on the device; larger sets stay where they are."""
READ_AT_ONCE = 32


class Samples(Protocol):
    """A list of images with their targets, whatever those are."""

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of an image."""
        ...

    def __len__(self) -> int: ...

    def read(self, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Images [B, H, W, 3] of bytes, and targets [B, …]."""
        ...


class Source(Protocol):
    """Samples on a device."""

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Images [B, 3, H, W] of bytes and targets [B, …]."""
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
