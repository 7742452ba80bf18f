"""ShuffleNet V1 (Zhang et al. 2018, arXiv 1707.01083) and V2 (Ma et al. 2018, arXiv 1807.11164) for 32 x 32 images, with a 1 x 1 stem."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdarena.tracks.classification.models.layers import Taps, convolution

STEM = 24


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleave the channels of ``groups`` equal groups: channel i of group g goes to i * groups + g."""
    batch, channels, height, width = x.shape
    return x.view(batch, groups, channels // groups, height, width).transpose(1, 2).reshape(x.shape)


def _relu(x: Tensor) -> Tensor:
    return functional.relu(x, inplace=True)


class GroupedBlock(nn.Module):
    """V1: grouped 1 x 1, shuffle, channel-wise 3 x 3, grouped 1 x 1; stride 2 concatenates the pooled input, stride 1 adds it."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, groups: int):
        super().__init__()
        hidden = out_channels // 4
        self.stride = stride
        self.groups = 1 if in_channels == STEM else groups  # the stem's few channels are not divided
        self.conv1 = convolution(in_channels, hidden, 1, groups=self.groups)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.conv2 = convolution(hidden, hidden, 3, stride, groups=hidden)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.conv3 = convolution(hidden, out_channels, 1, groups=groups)
        self.bn3 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C', H / stride, W / stride]."""
        out = shuffle(_relu(self.bn1(self.conv1(x))), self.groups)
        out = _relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.stride == 2:
            return _relu(torch.cat((out, functional.avg_pool2d(x, 3, stride=2, padding=1)), dim=1))
        return _relu(out + x)


class ShuffleNetV1(nn.Module):
    """Three stages of 240, 480 and 960 channels.

    Args:
        classes: number of logits.
        groups: of the 1 x 1 convolutions.
        in_channels: channels of the images.
    """

    taps: Taps = (("stage1", "layer1"), ("stage2", "layer2"), ("stage3", "layer3"))
    head = "linear"

    def __init__(self, classes: int, groups: int, in_channels: int = 3):
        super().__init__()
        self.conv1 = convolution(in_channels, STEM, 1)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.layer1 = self._stage(STEM, 240, 4, groups)
        self.layer2 = self._stage(240, 480, 8, groups)
        self.layer3 = self._stage(480, 960, 4, groups)
        self.linear = nn.Linear(960, classes)

    @staticmethod
    def _stage(in_channels: int, out_channels: int, blocks: int, groups: int) -> nn.Sequential:
        down = GroupedBlock(in_channels, out_channels - in_channels, 2, groups)
        return nn.Sequential(down, *(GroupedBlock(out_channels, out_channels, 1, groups) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, in_channels, H, W] to logits [B, classes]."""
        x = _relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(x.mean(dim=(2, 3)))
        return logits


class SplitBlock(nn.Module):
    """V2: half of the channels pass, half go through 1 x 1, channel-wise 3 x 3 and 1 x 1; then both are shuffled."""

    def __init__(self, channels: int):
        super().__init__()
        half = channels // 2
        self.conv1 = convolution(half, half, 1)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = convolution(half, half, 3, groups=half)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = convolution(half, half, 1)
        self.bn3 = nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape."""
        passing, out = x.chunk(2, dim=1)
        out = _relu(self.bn1(self.conv1(out)))
        out = self.bn2(self.conv2(out))
        out = _relu(self.bn3(self.conv3(out)))
        return shuffle(torch.cat((passing, out), dim=1), 2)


class DownBlock(nn.Module):
    """V2: two strided branches of half the output channels each, concatenated and shuffled."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        half = out_channels // 2
        self.conv1 = convolution(in_channels, in_channels, 3, 2, groups=in_channels)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv2 = convolution(in_channels, half, 1)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = convolution(in_channels, half, 1)
        self.bn3 = nn.BatchNorm2d(half)
        self.conv4 = convolution(half, half, 3, 2, groups=half)
        self.bn4 = nn.BatchNorm2d(half)
        self.conv5 = convolution(half, half, 1)
        self.bn5 = nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C', H / 2, W / 2]."""
        left = _relu(self.bn2(self.conv2(self.bn1(self.conv1(x)))))
        right = _relu(self.bn3(self.conv3(x)))
        right = _relu(self.bn5(self.conv5(self.bn4(self.conv4(right)))))
        return shuffle(torch.cat((left, right), dim=1), 2)


class ShuffleNetV2(nn.Module):
    """Three stages of 116, 232 and 464 channels; the embedding comes after one more 1 x 1 convolution.

    Args:
        classes: number of logits.
        in_channels: channels of the images.
    """

    taps: Taps = (("stage1", "layer1"), ("stage2", "layer2"), ("stage3", "layer3"))
    head = "linear"

    def __init__(self, classes: int, in_channels: int = 3):
        super().__init__()
        self.conv1 = convolution(in_channels, STEM, 1)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.layer1 = self._stage(STEM, 116, 3)
        self.layer2 = self._stage(116, 232, 7)
        self.layer3 = self._stage(232, 464, 3)
        self.conv2 = convolution(464, 1024, 1)
        self.bn2 = nn.BatchNorm2d(1024)
        self.linear = nn.Linear(1024, classes)

    @staticmethod
    def _stage(in_channels: int, out_channels: int, blocks: int) -> nn.Sequential:
        return nn.Sequential(DownBlock(in_channels, out_channels), *(SplitBlock(out_channels) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, in_channels, H, W] to logits [B, classes]."""
        x = _relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = _relu(self.bn2(self.conv2(x)))
        logits: Tensor = self.linear(x.mean(dim=(2, 3)))
        return logits
