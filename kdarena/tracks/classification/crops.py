"""Random crops that are resized, of a whole batch at once on the device where the images are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from kdarena.tracks.views import Views

LEAST_AREA = 0.25
"""Of an image; a crop of less, as from pictures of full size, would be magnified more than twice."""
LARGEST_RATIO = 4 / 3
"""Of a crop's width to its height, or the other way round."""


@dataclass(frozen=True)
class ResizedCrop:
    """A random part of the image at the image's size, and a flip of every other image on average.

    The part's area is uniform on [``LEAST_AREA``, 1] of the image, the logarithm of its ratio of sides uniform, its place uniform (Szegedy et al. 2015,
    arXiv 1409.4842). Pixels are interpolated bilinearly.

    Attributes:
        flip: whether images are flipped horizontally with probability 1/2.
    """

    flip: bool

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Random numbers for ``count`` images from a generator on the CPU: [count, 4] of centre (x, y) and half sides (x, y) of the part.

        They are in units of half the image, from −1 to 1; the half side in x is negative where the image is flipped.
        """
        area, ratio, x, y, flipped = torch.rand(5, count, generator=generator)
        sides = (LEAST_AREA + (1 - LEAST_AREA) * area).sqrt()
        stretch = ((2 * ratio - 1) * math.log(LARGEST_RATIO) / 2).exp()
        half_x, half_y = (sides * stretch).clamp(max=1), (sides / stretch).clamp(max=1)
        centre_x, centre_y = (2 * x - 1) * (1 - half_x), (2 * y - 1) * (1 - half_y)
        mirrored = torch.where(flipped < 0.5, -half_x, half_x) if self.flip else half_x
        return torch.stack((centre_x, centre_y, mirrored, half_y), dim=1)

    def views(self) -> Views:
        """Too many to be numbered."""
        return Views(self.draw)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """The images [B, H, W, C] as ``drawn`` [B, 4] says, in fp32 and their own shape."""
        height, width = images.shape[1:3]
        centre_x, centre_y, half_x, half_y = drawn.float().unbind(1)
        zero = torch.zeros_like(half_x)
        transforms = torch.stack((torch.stack((half_x, zero, centre_x), 1), torch.stack((zero, half_y, centre_y), 1)), 1)
        grid = functional.affine_grid(transforms, [len(images), 1, height, width], align_corners=False)
        planes = images.permute(0, 3, 1, 2).float()
        cropped = functional.grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return cropped.permute(0, 2, 3, 1).contiguous()
