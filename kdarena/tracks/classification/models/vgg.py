"""VGG with batch norm for 32 x 32 images (Simonyan and Zisserman 2015, arXiv 1409.1556): one linear layer after global average pooling."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from kdarena.tracks.classification.models.layers import Taps, initialise

WIDTHS = (64, 128, 256, 512, 512)
POOLED = 3
"""The grid is halved after each of the first three blocks: 32, 16, 8, 4, 4."""


def _block(in_channels: int, width: int, count: int) -> nn.Sequential:
    """``count`` convolutions with batch norm, ReLU between them but not after the last."""
    layers: list[nn.Module] = []
    for number in range(count):
        layers += [nn.Conv2d(in_channels if number == 0 else width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])


class VGG(nn.Module):
    """Five blocks of 3 x 3 convolutions.

    Args:
        classes: number of logits.
        convolutions: how many each block has; (1, 1, 1, 1, 1) is VGG-8.
        in_channels: channels of the images.
    """

    taps: Taps = tuple((f"stage{number + 1}", f"relu{number}") for number in range(len(WIDTHS)))
    head = "classifier"

    def __init__(self, classes: int, convolutions: Sequence[int], in_channels: int = 3):
        super().__init__()
        for number, (before, width, count) in enumerate(zip((in_channels, *WIDTHS), WIDTHS, convolutions, strict=False)):
            setattr(self, f"block{number}", _block(before, width, count))
            setattr(self, f"relu{number}", nn.ReLU(inplace=True))
        self.pool = nn.MaxPool2d(2)
        self.classifier = nn.Linear(WIDTHS[-1], classes)
        initialise(self)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, in_channels, H, W] to logits [B, classes]."""
        for number in range(len(WIDTHS)):
            x = self.get_submodule(f"relu{number}")(self.get_submodule(f"block{number}")(x))
            if number < POOLED:
                x = self.pool(x)
        logits: Tensor = self.classifier(x.mean(dim=(2, 3)))
        return logits
