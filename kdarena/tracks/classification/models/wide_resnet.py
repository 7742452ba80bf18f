"""Wide residual networks (Zagoruyko and Komodakis 2016, arXiv 1605.07146): batch norm and ReLU before each convolution."""

from __future__ import annotations

from torch import Tensor, nn

from kdarena.tracks.classification.models.layers import Taps, between_convolutions, convolution, initialise


class PreActivationBlock(nn.Module):
    """Two pre-activated 3 x 3 convolutions; where the channels change the shortcut is a 1 x 1 convolution of the activated input."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, dropout: float):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = convolution(in_channels, out_channels, 3, stride)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu2 = nn.ReLU(inplace=True)
        self.dropout = between_convolutions(dropout)
        self.conv2 = convolution(out_channels, out_channels, 3)
        self.convShortcut = convolution(in_channels, out_channels, 1, stride) if in_channels != out_channels else None  # the public layout's name

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C', H / stride, W / stride]."""
        activated = self.relu1(self.bn1(x))
        out = self.dropout(self.relu2(self.bn2(self.conv1(activated))))
        shortcut = x if self.convShortcut is None else self.convShortcut(activated)
        total: Tensor = self.conv2(out) + shortcut
        return total


class Stage(nn.Module):
    """Blocks of one width; the first carries the stride."""

    def __init__(self, blocks: int, in_channels: int, out_channels: int, stride: int, dropout: float):
        super().__init__()
        self.layer = nn.Sequential(
            PreActivationBlock(in_channels, out_channels, stride, dropout),
            *(PreActivationBlock(out_channels, out_channels, 1, dropout) for _ in range(blocks - 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C', H / stride, W / stride]."""
        out: Tensor = self.layer(x)
        return out


class WideResNet(nn.Module):
    """WRN-depth-width.

    A stage ends with a sum; its activation is the first layer of what follows. The taps are there, after batch norm and
    ReLU, so that every stage's map is non-negative as in the other residual networks.

    Args:
        classes: number of logits.
        depth: 6n + 4.
        width: factor on the channels 16, 32, 64.
        dropout: probability between the convolutions of each block.
        in_channels: channels of the images.
    """

    taps: Taps = (("stage1", "block2.layer.0.relu1"), ("stage2", "block3.layer.0.relu1"), ("stage3", "relu"))
    head = "fc"

    def __init__(self, classes: int, depth: int, width: int, dropout: float = 0.0, in_channels: int = 3):
        super().__init__()
        blocks = (depth - 4) // 6
        self.conv1 = convolution(in_channels, 16, 3)
        self.block1 = Stage(blocks, 16, 16 * width, 1, dropout)
        self.block2 = Stage(blocks, 16 * width, 32 * width, 2, dropout)
        self.block3 = Stage(blocks, 32 * width, 64 * width, 2, dropout)
        self.bn1 = nn.BatchNorm2d(64 * width)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(64 * width, classes)
        initialise(self)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, in_channels, H, W] to logits [B, classes]."""
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        x = self.relu(self.bn1(x))
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits
