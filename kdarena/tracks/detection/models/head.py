"""The pyramid and the head of FCOS (Tian et al. 2019, arXiv 1904.01355; with the improvements of the journal version, arXiv 2006.09214)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdarena.tracks.segmentation.models.layers import dropout_before_classifier

PRIOR = 0.01
"""π: probability of every class at every place at the beginning (Lin et al. 2017, arXiv 1708.02002, section 4.1)."""
LARGEST = 6.0
"""Exponents of distances are at most so large: e⁶ is 400 strides."""


def in_fp32(layer: nn.Module, inputs: Tensor) -> Tensor:
    """What a layer answers in fp32, also where autocast has others calculate in 16 bits."""
    if not torch.is_autocast_enabled(inputs.device.type):
        return layer(inputs)  # type: ignore[no-any-return]
    with torch.autocast(inputs.device.type, enabled=False):
        return layer(inputs.float())  # type: ignore[no-any-return]


class FeaturePyramid(nn.Module):
    """A feature pyramid (Lin et al. 2017, arXiv 1612.03144): p_k = conv₃ₓ₃(m_k), m_k = conv₁ₓ₁(c_k) + upsampled(m_{k+1}).

    Args:
        widths: channels of the backbone's maps, fine to coarse.
        channels: of each map of the pyramid.
    """

    def __init__(self, widths: Sequence[int], channels: int):
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in widths)
        self.output = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in widths)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps [B, C_k, H_k, W_k] of the backbone to as many [B, channels, H_k, W_k]."""
        merged = [lateral(each) for lateral, each in zip(self.lateral, maps, strict=True)]
        for finer in range(len(merged) - 2, -1, -1):
            size = merged[finer].shape[2:]
            merged[finer] = merged[finer] + functional.interpolate(merged[finer + 1], size=(size[0], size[1]), mode="nearest")
        return [output(each) for output, each in zip(self.output, merged, strict=True)]


class Tower(nn.Sequential):
    """Convolutions of 3 x 3 with group norm, whose statistics are of one image and level, and ReLU."""

    def __init__(self, channels: int, depth: int, groups: int):
        super().__init__()
        for _ in range(depth):
            self.append(nn.Conv2d(channels, channels, 3, padding=1, bias=False))
            self.append(nn.GroupNorm(groups, channels))
            self.append(nn.ReLU(inplace=True))


class Head(nn.Module):
    """What is shared by all levels: classes by one tower, distances and centre-ness by another, as in the improved version.

    Distances are exp(s_k · x), with a factor s_k of each level that is learnt.

    Args:
        channels: of the pyramid's maps.
        classes: C.
        levels: how many there are.
        depth: convolutions of a tower.
        groups: of group norm.
        dropout: of whole channels before the classifier.
    """

    def __init__(self, channels: int, classes: int, levels: int, depth: int, groups: int, dropout: float = 0.0):
        super().__init__()
        self.class_tower, self.box_tower = (Tower(channels, depth, groups) for _ in range(2))
        self.dropout = dropout_before_classifier(dropout)
        self.classifier = nn.Conv2d(channels, classes, 3, padding=1)
        # four distances and the centre-ness
        self.regressor = nn.Conv2d(channels, 5, 3, padding=1)
        self.scales = nn.Parameter(torch.ones(levels))
        for tower in (self.class_tower, self.box_tower):
            for module in tower:
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        for layer, bias in ((self.classifier, -math.log((1 - PRIOR) / PRIOR)), (self.regressor, 0.0)):
            nn.init.normal_(layer.weight, std=0.01)
            assert layer.bias is not None
            nn.init.constant_(layer.bias, bias)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Maps [B, channels, H_k, W_k] of the levels to scores [B, C, P] and boxes [B, 5, P]."""
        scores, boxes = [], []
        for level, each in enumerate(maps):
            scores.append(self.classifier(self.dropout(self.class_tower(each))).flatten(2))
            # a power of e has no room for its error in 8 bits of mantissa
            found = in_fp32(self.regressor, self.box_tower(each)).flatten(2)
            distances = (self.scales[level] * found[:, :4]).clamp(max=LARGEST).exp()
            boxes.append(torch.cat([distances, found[:, 4:]], dim=1))
        return torch.cat(scores, dim=2), torch.cat(boxes, dim=2)
