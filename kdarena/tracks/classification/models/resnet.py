"""CIFAR ResNets of depth 6n + 2 (He et al. 2016, arXiv 1512.03385, section 4.2), with convolutional shortcuts as in the public benchmark."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from kdarena.tracks.classification.models.layers import Taps, between_convolutions, convolution, initialise


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut, which is a 1 x 1 convolution where grid or channels change."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, dropout: float):
        super().__init__()
        self.conv1 = convolution(in_channels, out_channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = between_convolutions(dropout)
        self.conv2 = convolution(out_channels, out_channels, 3)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(convolution(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C', H / stride, W / stride]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.dropout(self.relu(self.bn1(self.conv1(x))))
        out = self.bn2(self.conv2(out))
        out += shortcut
        activated: Tensor = self.relu(out)
        return activated


class ResNet(nn.Module):
    """A stem, three stages of basic blocks, global average pooling and a linear layer.

    Args:
        classes: number of logits.
        blocks: blocks in each stage; depth is 6 * blocks + 2.
        widths: channels of the stem and of the three stages.
        strides: of the first block of each stage.
        dropout: probability between the convolutions of each block.
        in_channels: channels of the images.
    """

    taps: Taps = (("stage1", "layer1"), ("stage2", "layer2"), ("stage3", "layer3"))
    head = "fc"

    def __init__(self, classes: int, blocks: int, widths: Sequence[int], strides: Sequence[int] = (1, 2, 2), dropout: float = 0.0, in_channels: int = 3):
        super().__init__()
        stem, *stages = widths
        self.conv1 = convolution(in_channels, stem, 3)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU(inplace=True)
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(
                BasicBlock(before, width, stride, dropout),
                *(BasicBlock(width, width, 1, dropout) for _ in range(blocks - 1)),
            )
            for before, width, stride in zip(widths, stages, strides, strict=False)
        )
        self.fc = nn.Linear(stages[-1], classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, in_channels, H, W] to logits [B, classes]."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits
