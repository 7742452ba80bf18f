"""What a detector has to say at each place: FCOS's assignment of boxes to places (Tian et al. 2019, arXiv 1904.01355, section 3; 2006.09214)."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from kdarena.tracks.detection.boxes import area
from kdarena.tracks.detection.data import COUNTED, CROWD
from kdarena.tracks.detection.pyramid import Pyramid

RADIUS = 1.5
"""A place belongs to a box where it is within so many strides of the box's centre (the improved version's centre sampling)."""
NONE, LEFT_OUT = -1, -2
"""Classes of places that belong to no box, and of those that don't count."""
ENDLESS = 1e8


@dataclass(frozen=True)
class Places:
    """The places of all levels of an image, each by its own numbers [P].

    Attributes:
        x, y: its position in pixels.
        stride: of its level.
        low, high: smallest and largest of the largest distances to a side that belong to its level, in pixels.
    """

    x: Tensor
    y: Tensor
    stride: Tensor
    low: Tensor
    high: Tensor

    @staticmethod
    def of(pyramid: Pyramid, size: tuple[int, int], device: torch.device) -> Places:
        """The places of an image of so many rows and columns of pixels."""
        columns = []
        bounds = (0.0, *pyramid.bounds, ENDLESS)
        for level, (stride, (height, width)) in enumerate(zip(pyramid.strides, pyramid.grids(size), strict=True)):
            y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            constants = (torch.full((height * width,), float(value)) for value in (stride, bounds[level], bounds[level + 1]))
            columns.append(torch.stack([(x.flatten() + pyramid.offset) * stride, (y.flatten() + pyramid.offset) * stride, *constants]))
        return Places(*torch.cat(columns, dim=1).to(device).unbind(0))

    def to(self, device: torch.device) -> Places:
        """The same on another device."""
        return Places(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True)
class Assigned:
    """What belongs to each place.

    Attributes:
        classes: c* [B, P]: of the place's box, −1 where there is none, −2 where the place doesn't count.
        distances: l*, t*, r*, b* [B, 4, P] to the sides of its box, in strides; of any box where there is none.
        positive: whether there is a box [B, P].
    """

    classes: Tensor
    distances: Tensor
    positive: Tensor


def assign(places: Places, targets: Tensor) -> Assigned:
    """Give each place its box, in tensors whose shapes don't depend on what is in the images.

    A place belongs to a box where it is inside of it and within 1.5 strides of its centre along both axes, and max(l*, t*, r*, b*) is within
    the bounds of its level; of several such boxes it belongs to that of the smallest area. Places inside a crowd region that belong to no
    box don't count.

    Args:
        places: of the images.
        targets: boxes [B, M, 6], see :class:`kdarena.Batch`.
    """
    x1, y1, x2, y2, classes, flags = targets.unsqueeze(-1).unbind(2)
    left, top, right, bottom = places.x - x1, places.y - y1, x2 - places.x, y2 - places.y
    nearest = torch.minimum(torch.minimum(left, right), torch.minimum(top, bottom))
    largest = torch.maximum(torch.maximum(left, right), torch.maximum(top, bottom))
    # the distance from the centre is half the difference of opposite distances
    from_centre = torch.maximum((left - right).abs(), (top - bottom).abs())
    inside = nearest > 0
    belongs = inside & (from_centre < 2 * RADIUS * places.stride) & (largest >= places.low) & (largest <= places.high) & (flags == COUNTED)
    size = area(targets[..., :4]).unsqueeze(-1).masked_fill(~belongs, ENDLESS)
    smallest, chosen = size.min(dim=1)
    positive = smallest < ENDLESS
    crowded = (inside & (flags == CROWD)).any(dim=1)
    none = torch.where(crowded, LEFT_OUT, NONE)
    label = torch.where(positive, classes.squeeze(-1).gather(1, chosen).long(), none)
    sides = targets[..., :4].transpose(1, 2).gather(2, chosen.unsqueeze(1).expand(-1, 4, -1))
    here = torch.stack([places.x, places.y])
    distances = torch.cat([here - sides[:, :2], sides[:, 2:] - here], dim=1) / places.stride
    return Assigned(label, distances, positive)


def centre_ness(distances: Tensor) -> Tensor:
    """sqrt(min(l*, r*) / max(l*, r*) · min(t*, b*) / max(t*, b*)) [B, P] of distances [B, 4, P]; equation 3.

    Of places outside of their box, which is none of theirs, it is 0.
    """
    first, last = distances[:, :2], distances[:, 2:]
    shares = torch.minimum(first, last).clamp(min=0) / torch.maximum(first, last).clamp(min=1e-6)
    return shares.prod(dim=1).sqrt()
