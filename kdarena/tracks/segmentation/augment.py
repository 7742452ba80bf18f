"""Random scale, crop and flip of images and their targets in one step, by one affine map a sample."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from kdarena.tracks.segmentation.data import Augmentation

DRAWS = 4
"""Uniform numbers that a sample needs: scale, two offsets, flip."""


def draw(count: int, random: torch.Generator) -> Tensor:
    """Uniform numbers of ``count`` samples [count, 4] on the CPU, so that a seed means the same on every device."""
    return torch.rand(count, DRAWS, generator=random)


def affine(how: Augmentation, size: tuple[int, int], drawn: Tensor) -> tuple[Tensor, Tensor]:
    """The maps from a crop's normalised coordinates to an image's [N, 2, 3], and the scales s [N].

    The image is enlarged by s, log-uniform in ``how.scale``; the crop is anywhere within it, or it within the crop where it
    is smaller, beyond the edges by ``how.margin`` pixels at most; at half of all times it is mirrored.
    """
    low, high = how.scale
    scale = low * (high / low) ** drawn[:, 0]
    maps = torch.zeros(len(drawn), 2, 3)
    for axis, place in ((1, 0), (0, 1)):  # affine maps put x first
        crop, whole = how.crop[axis], scale * size[axis]
        room = whole - crop
        first = room.clamp(max=0) - how.margin
        offset = first + drawn[:, 1 + axis] * (room.abs() + 2 * how.margin)
        maps[:, place, place] = crop / whole
        maps[:, place, 2] = (crop + 2 * offset) / whole - 1
    if how.flip:
        maps[:, 0] *= torch.where(drawn[:, 3:] < 0.5, -1.0, 1.0)
    return maps, scale


def apply(how: Augmentation, images: Tensor, targets: Tensor, drawn: Tensor, unknown: float) -> tuple[Tensor, Tensor]:
    """Normalised images [N, 3, H, W] and targets [N, H, W] to crops of them.

    Images are sampled bilinearly, zero beyond the edges; targets take the nearest pixel, ``unknown`` beyond the edges.
    Where ``how.nearer`` says so, targets are distances, which an enlarged image shows s times nearer (Eigen et al. 2014,
    arXiv 1406.2283, section 3.4).
    """
    maps, scale = affine(how, (images.shape[2], images.shape[3]), drawn)
    grid = functional.affine_grid(maps.to(images.device), [len(images), 1, *how.crop], align_corners=False)
    crops = functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    values = functional.grid_sample(targets[:, None].float(), grid, mode="nearest", padding_mode="zeros", align_corners=False)[:, 0]
    if how.nearer:
        values = values / scale.to(values.device)[:, None, None]
    return crops, values.masked_fill((grid.abs() > 1).any(dim=3), unknown)
