"""MobileNetV2 for 32 x 32 images (Sandler et al. 2018, arXiv 1801.04381), in the reduced form of the public benchmark."""

from __future__ import annotations

from torch import Tensor, nn

from kdarena.tracks.classification.models.layers import Taps, convolution, initialise

STAGES = ((16, 1, 1), (24, 2, 1), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
"""Channels before the width factor, number of blocks, stride of the first block."""
LAST_CHANNELS = 1280


def _activated(conv: nn.Conv2d) -> list[nn.Module]:
    return [conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU(inplace=True)]


class InvertedResidual(nn.Module):
    """Expand by a 1 x 1 convolution, filter each channel by a 3 x 3, project linearly; with a shortcut where shapes agree."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int):
        super().__init__()
        hidden = in_channels * expansion
        self.residual = stride == 1 and in_channels == out_channels
        self.conv = nn.Sequential(
            *_activated(convolution(in_channels, hidden, 1)),
            *_activated(convolution(hidden, hidden, 3, stride, groups=hidden)),
            convolution(hidden, out_channels, 1),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C', H / stride, W / stride]."""
        out: Tensor = self.conv(x)
        return out + x if self.residual else out


class MobileNetV2(nn.Module):
    """Seven groups of inverted residuals on a 16 x 16 grid, halved three times.

    Its blocks end linearly, so its taps, those of the public benchmark, are signed. The embedding comes after one more
    1 x 1 convolution.

    Args:
        classes: number of logits.
        expansion: of the hidden channels in all groups but the first.
        width: factor on all channels but the last 1280.
        in_channels: channels of the images.
    """

    taps: Taps = (("stage1", "blocks.1"), ("stage2", "blocks.2"), ("stage3", "blocks.4"), ("stage4", "blocks.6"))
    head = "classifier.0"

    def __init__(self, classes: int, expansion: int, width: float, in_channels: int = 3):
        super().__init__()
        channels = int(32 * width)
        self.conv1 = nn.Sequential(*_activated(convolution(in_channels, channels, 3, 2)))
        self.blocks = nn.ModuleList()
        for group, (base, count, stride) in enumerate(STAGES):
            blocks = nn.Sequential()
            for block in range(count):
                blocks.append(InvertedResidual(channels, int(base * width), stride if block == 0 else 1, expansion if group else 1))
                channels = int(base * width)
            self.blocks.append(blocks)
        self.conv2 = nn.Sequential(*_activated(convolution(channels, LAST_CHANNELS, 1)))
        linear = nn.Linear(LAST_CHANNELS, classes)
        self.classifier = nn.Sequential(linear)
        initialise(self)
        nn.init.normal_(linear.weight, std=0.01)
        nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, in_channels, H, W] to logits [B, classes]."""
        x = self.conv1(x)
        for blocks in self.blocks:
            x = blocks(x)
        logits: Tensor = self.classifier(self.conv2(x).mean(dim=(2, 3)))
        return logits
