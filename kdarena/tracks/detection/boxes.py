"""Boxes [..., 4] by their left, top, right and bottom sides in pixels: areas and overlaps."""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST = 1e-9
"""What an area is divided by at least, so that boxes of no area overlap by 0."""


def area(boxes: Tensor) -> Tensor:
    """Areas [...] of boxes [..., 4]; 0 where a side lies before its opposite."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1)


def clip(boxes: Tensor, size: Tensor) -> Tensor:
    """The part of boxes [..., 4] within images, whose heights and widths are ``size`` [..., 2]."""
    limits = size.flip(-1)
    return torch.cat([boxes[..., :2].clamp(min=0).minimum(limits), boxes[..., 2:].clamp(min=0).minimum(limits)], dim=-1)


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of every pair of boxes [..., N, 4] and [..., M, 4]: [..., N, M] in [0, 1]."""
    one, other = first.unsqueeze(-2), second.unsqueeze(-3)
    # side by side, so that no tensor is larger than the result
    width = torch.minimum(one[..., 2], other[..., 2]) - torch.maximum(one[..., 0], other[..., 0])
    height = torch.minimum(one[..., 3], other[..., 3]) - torch.maximum(one[..., 1], other[..., 1])
    common = width.clamp_(min=0).mul_(height.clamp_(min=0))
    union = (area(first).unsqueeze(-1) + area(second).unsqueeze(-2)).sub_(common)
    return common.div_(union.clamp_(min=SMALLEST))


def giou(first: Tensor, second: Tensor) -> Tensor:
    """Generalised intersection over union of boxes [..., 4] in pairs (Rezatofighi et al. 2019, arXiv 1902.09630, algorithm 1): [...] in (−1, 1].

    GIoU = |A ∩ B| / |A ∪ B| − |C ∖ (A ∪ B)| / |C|, where C is the smallest box around A and B.
    """
    common = (torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(first[..., :2], second[..., :2])).clamp(min=0).prod(dim=-1)
    around = (torch.maximum(first[..., 2:], second[..., 2:]) - torch.minimum(first[..., :2], second[..., :2])).clamp(min=0).prod(dim=-1)
    union = area(first) + area(second) - common
    return common / union.clamp(min=SMALLEST) - (around - union) / around.clamp(min=SMALLEST)
