"""The levels on which a detector looks at an image. Neither torch nor data are touched here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pyramid:
    """Levels of a feature pyramid, fine to coarse, each a grid of places; level k is that of stride 2^k.

    Attributes:
        strides: pixels between two places of each level.
        offset: the first place's distance from the image's edge in strides: 1/2 in the paper, 0 in torchvision's weights.
        reach: the sides of a box are at most so many strides from a place of its level: 8 in the paper (section 3.2: 64 pixels at stride 8 and so on).
    """

    strides: tuple[int, ...]
    offset: float = 0.5
    reach: float = 8

    @property
    def bounds(self) -> tuple[float, ...]:
        """Largest distance from a place to a side of its box in pixels of each level but the last, which takes any, and smallest of the next level."""
        return tuple(float(self.reach * stride) for stride in self.strides[:-1])

    @property
    def names(self) -> tuple[str, ...]:
        """``p3`` for stride 8 and so on."""
        return tuple(f"p{stride.bit_length() - 1}" for stride in self.strides)

    def grids(self, size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """Rows and columns of places of each level for an image of so many rows and columns of pixels."""
        height, width = size
        return tuple((-(-height // stride), -(-width // stride)) for stride in self.strides)

    def places(self, size: tuple[int, int]) -> int:
        """Places P of all levels."""
        return sum(rows * columns for rows, columns in self.grids(size))
