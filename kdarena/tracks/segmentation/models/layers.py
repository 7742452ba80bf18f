"""Parts that several architectures share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdarena.tracks.segmentation.models.resample import average_pooled, spread

Taps = tuple[tuple[str, str], ...]
"""Stage name and path of the submodule that puts out its feature map, shallow to deep."""


class ConvolutionUnit(nn.Sequential):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, dilation: int = 1):
        padding = dilation * (kernel // 2)
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class ResidualUnit(nn.Module):
    """A 3 x 3 convolution, batch norm and ReLU, with a shortcut where input and output have one shape.

    There is no 1 x 1 convolution with a stride: with fewer than 8 channels oneDNN writes beyond its buffers in that one's
    backward pass (torch 2.13 on AVX2).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, dilation: int = 1):
        super().__init__()
        self.residual = stride == 1 and in_channels == out_channels
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride, dilation, dilation, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C', H / stride, W / stride]."""
        out = self.bn(self.conv(x))
        if self.residual:
            out = out + x
        activated: Tensor = self.relu(out)
        return activated


class BasicBlock(nn.Module):
    """ResNet's block of two 3 x 3 convolutions (He et al. 2016, arXiv 1512.03385), dilated where asked for."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, dilation: int = 1):
        super().__init__()
        self.unit = ConvolutionUnit(in_channels, out_channels, 3, stride, dilation)
        self.conv = nn.Conv2d(out_channels, out_channels, 3, 1, dilation, dilation, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C', H / stride, W / stride]."""
        activated: Tensor = self.relu(self.bn(self.conv(self.unit(x))) + self.shortcut(x))
        return activated


class PyramidPooling(nn.Module):
    """Means over grids of several sizes in addition to the map itself, brought together (Zhao et al. 2017, arXiv 1612.01105).

    Args:
        channels: of the map; each level gets an equal share of as many.
        out_channels: of the result.
        bins: sides of the grids.
    """

    def __init__(self, channels: int, out_channels: int, bins: Sequence[int] = (1, 2, 3, 6)):
        super().__init__()
        self.bins = tuple(bins)
        share = max(1, channels // len(self.bins))
        # without batch norm: at one bin and a batch of one there would be a single value a channel
        self.levels = nn.ModuleList(nn.Sequential(nn.Conv1d(channels, share, 1), nn.ReLU(inplace=True)) for _ in self.bins)
        self.bottleneck = ConvolutionUnit(channels + share * len(self.bins), out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C', H, W]."""
        size = (x.shape[2], x.shape[3])
        cells = average_pooled(x, self.bins).split([bins * bins for bins in self.bins], dim=2)
        pooled = [spread(level(one), size).to(x.dtype) for level, one in zip(self.levels, cells, strict=True)]
        together: Tensor = self.bottleneck(torch.cat([x, *pooled], dim=1))
        return together


def dropout_before_classifier(probability: float) -> nn.Module:
    """Dropout of whole channels, where asked for; a module, so that a method can keep it alive in a teacher in eval mode."""
    return nn.Dropout2d(probability) if probability else nn.Identity()


def initialise(network: nn.Module, score_layers: Sequence[str]) -> None:
    """He initialisation of convolutions by fan-out (He et al. 2015, arXiv 1502.01852); batch norm starts as the identity.

    Args:
        score_layers: paths of the convolutions that put out scores, which start with unit variance over their inputs and without bias.
    """
    last = {id(network.get_submodule(path)) for path in score_layers}
    for module in network.modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d)):
            if id(module) in last:
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="linear")
            else:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
