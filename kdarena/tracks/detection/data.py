"""What a data set of the track is: two lists of images with boxes around what is in them. Neither torch nor files are touched here.

A list of boxes is an array [B, M, 6] of fixed M, so that batches have one shape: x1, y1, x2, y2 in pixels (x to the right, y down, from the
corner of the first pixel, x2 > x1, y2 > y1), the class from 0, and a flag.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from kdarena.tracks.overlap import rows_in_train

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

COUNTED, CROWD = 1, 2
"""Flags: a box that counts, and a crowd region, which is neither right nor wrong. 0 is a line that fills up."""


@dataclass(frozen=True)
class Augmentation:
    """How training samples are varied.

    Attributes:
        size: rows and columns of what is trained on.
        scale: smallest and largest enlargement.
        flip: whether half of all images are mirrored.
        margin: pixels by which what is trained on may pass the image's edges.
    """

    size: tuple[int, int]
    scale: tuple[float, float] = (0.5, 2.0)
    flip: bool = True
    margin: int = 0


@dataclass(frozen=True, eq=False)
class Truth:
    """What is in N pictures, for the metrics.

    Attributes:
        boxes: [N, M, 6] in pixels of the original pictures.
        areas: of the objects in square pixels [N, M], by which they are small, medium or large.
    """

    boxes: np.ndarray
    areas: np.ndarray


class Samples(Protocol):
    """A list of images with boxes; all images are scaled and filled up to one size."""

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of what :meth:`read` gives."""
        ...

    @property
    def most(self) -> int:
        """M, the number of lines of each list of boxes."""
        ...

    def __len__(self) -> int: ...

    def read(self, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Images [B, H, W, 3] of bytes, and boxes [B, M, 6] of float32 in their pixels."""
        ...

    def sizes(self, rows: Sequence[int]) -> np.ndarray:
        """Height and width of the original pictures, and the scale by which they were multiplied [B, 3], float64."""
        ...

    def truth(self, rows: Sequence[int]) -> Truth:
        """What is in the original pictures."""
        ...

    def overlap(self, train: Self) -> int:
        """How many of its images are also in another list of the same kind."""
        ...

    def check_images(self) -> None:
        """Look at every image; raises ``ValueError`` in one line that names the file of one that can't be decoded."""
        ...


@dataclass(frozen=True, eq=False)
class Arrays:
    """Samples in memory: images [N, H, W, 3] of bytes and boxes [N, M, 6] of float32, at the size that they have."""

    images: np.ndarray
    boxes: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.images.shape[1], self.images.shape[2]

    @property
    def most(self) -> int:
        """See :class:`Samples`."""
        return int(self.boxes.shape[1])

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Samples`."""
        chosen = list(rows)
        return self.images[chosen], self.boxes[chosen]

    def sizes(self, rows: Sequence[int]) -> np.ndarray:
        """See :class:`Samples`; nothing is scaled."""
        import numpy as np

        return np.tile(np.array([*self.size, 1.0]), (len(rows), 1))

    def truth(self, rows: Sequence[int]) -> Truth:
        """See :class:`Samples`; an object's area is that of its box."""
        boxes = self.boxes[list(rows)]
        return Truth(boxes, (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1]))

    def overlap(self, train: Arrays) -> int:
        """See :class:`Samples`."""
        return rows_in_train(self.images, train.images)

    def check_images(self) -> None:
        """See :class:`Samples`; there is no file."""


@dataclass(frozen=True, eq=False)
class BoxSet:
    """A data set.

    Attributes:
        name: of the data set.
        train: what is trained on; where the authors say what is validation, that comes last.
        test: what is tested on.
        fixed_validation: whether the last samples of ``train`` are its validation part.
        classes: names of the classes.
        mean, std: of the channels, in units of 255.
        augmentation: of training samples.
        most: M, the largest number of boxes of a picture of either list.
    """

    name: str
    train: Samples
    test: Samples
    fixed_validation: bool
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation
    most: int
