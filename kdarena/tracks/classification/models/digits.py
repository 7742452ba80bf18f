"""Residual networks for 8 x 8 digits, small enough that a training takes seconds on one thread.

The grid is halved once, so that the last map of both still has 4 x 4 positions. There is no 1 x 1 convolution with a
stride: with fewer than 8 channels oneDNN writes beyond its buffers in that one's backward pass (torch 2.13 on AVX2).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from kdarena.tracks.classification.models.layers import Taps, between_convolutions, convolution, initialise

STRIDES = (1, 2, 1)


class Unit(nn.Module):
    """Dropout, a 3 x 3 convolution, batch norm and ReLU; with a shortcut where input and output have one shape."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, dropout: float):
        super().__init__()
        self.residual = stride == 1 and in_channels == out_channels
        self.dropout = between_convolutions(dropout)
        self.conv = convolution(in_channels, out_channels, 3, stride)
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C', H / stride, W / stride]."""
        out = self.bn(self.conv(self.dropout(x)))
        if self.residual:
            out += x
        activated: Tensor = self.relu(out)
        return activated


class DigitsNetwork(nn.Module):
    """Three stages on grids of 8 x 8, 4 x 4 and 4 x 4, global average pooling and a linear layer.

    Args:
        classes: number of logits.
        widths: channels of the three stages.
        units: number of units in each stage.
        dropout: probability before every convolution but the first.
        in_channels: channels of the images.
    """

    taps: Taps = (("stage1", "layer1"), ("stage2", "layer2"), ("stage3", "layer3"))
    head = "fc"

    def __init__(self, classes: int, widths: Sequence[int], units: Sequence[int], dropout: float = 0.0, in_channels: int = 1):
        super().__init__()
        self.layer1: nn.Sequential
        self.layer2: nn.Sequential
        self.layer3: nn.Sequential
        channels = in_channels
        for number, (width, count, stride) in enumerate(zip(widths, units, STRIDES, strict=True), start=1):
            stage = nn.Sequential()
            for unit in range(count):
                first = number == 1 and unit == 0
                stage.append(Unit(channels, width, stride if unit == 0 else 1, 0.0 if first else dropout))
                channels = width
            setattr(self, f"layer{number}", stage)
        self.fc = nn.Linear(channels, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, in_channels, 8, 8] to logits [B, classes]."""
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits
