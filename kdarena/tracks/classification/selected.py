"""Rows of an array on disk in another order."""

from __future__ import annotations

from typing import Any

import numpy as np


class Selected:
    """Rows of a memory-mapped array; what is not asked for is not read.

    Args:
        array: [N, …].
        rows: those that it has, in its order.
    """

    def __init__(self, array: np.ndarray, rows: np.ndarray):
        self._array, self._rows = array, rows
        self.shape = (len(rows), *array.shape[1:])
        self.dtype = array.dtype

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def nbytes(self) -> int:
        """Of all its rows."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __getitem__(self, index: Any) -> np.ndarray:
        """A row, or several, in memory."""
        return np.asarray(self._array[self._rows[index]])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All rows in memory."""
        return self[:].astype(dtype or self.dtype, copy=False)


Images = np.ndarray | Selected
"""Images [N, H, W, C] of bytes, in memory or on disk."""


def on_disk(images: Any) -> bool:
    """Whether images are memory-mapped, and too many to be read at once."""
    return isinstance(images, (np.memmap, Selected))


def in_memory(images: Images, most: int) -> Images:
    """Images of up to so many bytes in memory, others as they are."""
    return np.ascontiguousarray(images[:]) if isinstance(images, Selected) and images.nbytes <= most else images
