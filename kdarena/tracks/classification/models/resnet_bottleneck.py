"""ResNet-50 for 32 x 32 images: four stages of bottleneck blocks (He et al. 2016, arXiv 1512.03385), a 3 x 3 stem and no max pooling."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from kdarena.tracks.classification.models.layers import Taps, between_convolutions, convolution, initialise

EXPANSION = 4
WIDTHS = (64, 128, 256, 512)


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions to four times ``width`` channels, and a shortcut."""

    def __init__(self, in_channels: int, width: int, stride: int, dropout: float):
        super().__init__()
        out_channels = EXPANSION * width
        self.conv1 = convolution(in_channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.dropout = between_convolutions(dropout)
        self.conv3 = convolution(width, out_channels, 1)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(convolution(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, 4 * width, H / stride, W / stride]."""
        out = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        out = functional.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(self.dropout(out)))
        out += self.shortcut(x)
        return functional.relu(out, inplace=True)


class BottleneckResNet(nn.Module):
    """Four stages of bottleneck blocks on the image's own grid, halved three times.

    Args:
        classes: number of logits.
        blocks: blocks of each stage; (3, 4, 6, 3) is ResNet-50.
        dropout: probability before the last convolution of each block.
        in_channels: channels of the images.
    """

    taps: Taps = (("stage1", "layer1"), ("stage2", "layer2"), ("stage3", "layer3"), ("stage4", "layer4"))
    head = "linear"

    def __init__(self, classes: int, blocks: Sequence[int], dropout: float = 0.0, in_channels: int = 3):
        super().__init__()
        self.conv1 = convolution(in_channels, WIDTHS[0], 3)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.layer1: nn.Sequential
        self.layer2: nn.Sequential
        self.layer3: nn.Sequential
        self.layer4: nn.Sequential
        channels = WIDTHS[0]
        for number, (width, count) in enumerate(zip(WIDTHS, blocks, strict=True), start=1):
            stage = nn.Sequential()
            for block in range(count):
                stage.append(Bottleneck(channels, width, 2 if number > 1 and block == 0 else 1, dropout))
                channels = EXPANSION * width
            setattr(self, f"layer{number}", stage)
        self.linear = nn.Linear(channels, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, in_channels, H, W] to logits [B, classes]."""
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.linear(x.mean(dim=(2, 3)))
        return logits
