"""Random scale, shift and flip of images and the boxes in them in one step, by one affine map a sample."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from kdarena.tracks.detection.data import COUNTED, CROWD, Augmentation
from kdarena.tracks.segmentation.augment import DRAWS, affine, draw
from kdarena.tracks.segmentation.data import Augmentation as Cropping

__all__ = ["DRAWS", "apply", "draw"]

LEAST_LEFT = 0.25
"""A box of which less than this share of its area is left in the image is a crowd region: what is seen of it is neither an object nor background."""


def apply(how: Augmentation, images: Tensor, boxes: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
    """Normalised images [N, 3, H, W] and boxes [N, M, 6] to parts of them of ``how.size``.

    Scale, shift and flip are those of :func:`kdarena.tracks.segmentation.augment.affine`. Images are sampled bilinearly, zero beyond the edges. Boxes
    are cut at the edges. One of which less than a quarter of its area is left becomes a crowd region; one of which nothing is left, a line of zeros.

    Args:
        drawn: uniform numbers [N, 4] on the CPU.
    """
    maps, _ = affine(Cropping(how.size, how.scale, how.margin, how.flip), (images.shape[2], images.shape[3]), drawn)
    maps = maps.to(images.device)
    grid = functional.affine_grid(maps, [len(images), 1, *how.size], align_corners=False)
    moved = functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return moved, _moved(boxes, maps, (images.shape[2], images.shape[3]), how.size)


def _moved(boxes: Tensor, maps: Tensor, before: tuple[int, int], after: tuple[int, int]) -> Tensor:
    """Boxes [N, M, 6] under the maps [N, 2, 3] from what images become to what they were, both in normalised coordinates."""
    whole, cut = [], []
    for axis, size, side in ((0, before[1], after[1]), (1, before[0], after[0])):  # x, then y
        ends = boxes[..., [axis, axis + 2]] * (2 / size) - 1
        slope, shift = maps[:, axis, axis, None, None], maps[:, axis, 2, None, None]
        places = ((ends - shift) / slope + 1) * (side / 2)
        first, last = places.amin(dim=2), places.amax(dim=2)  # a flip changes their order
        whole.append(last - first)
        cut.append((first.clamp(0, side), last.clamp(0, side)))
    (x1, x2), (y1, y2) = cut
    left, area = (x2 - x1) * (y2 - y1), whole[0] * whole[1]
    flag = boxes[..., 5].masked_fill((boxes[..., 5] == COUNTED) & (left < LEAST_LEFT * area), CROWD)
    return torch.stack([x1, y1, x2, y2, boxes[..., 4], flag], dim=2) * ((flag > 0) & (left > 0)).unsqueeze(2)
