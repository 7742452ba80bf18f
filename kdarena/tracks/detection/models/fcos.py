"""FCOS over a small residual network, for images of some 50 pixels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from kdarena.tracks.detection.models.head import FeaturePyramid, Head
from kdarena.tracks.segmentation.models.layers import ConvolutionUnit, ResidualUnit, Taps, initialise


class FCOS(nn.Module):
    """Stem at stride 2, three stages at strides 4, 8 and 16, the pyramid over them, and the head.

    Args:
        classes: C.
        stem: channels of the stem.
        widths, blocks: channels and residual blocks of the three stages.
        channels: of the pyramid and of the head.
        tower: convolutions of each tower of the head.
        dropout: of whole channels before the classifier.
    """

    taps: Taps = (
        ("stage1", "layer1"),
        ("stage2", "layer2"),
        ("stage3", "layer3"),
        ("p2", "pyramid.output.0"),
        ("p3", "pyramid.output.1"),
        ("p4", "pyramid.output.2"),
    )

    def __init__(self, classes: int, stem: int, widths: Sequence[int], blocks: Sequence[int], channels: int, tower: int, dropout: float = 0.0):
        super().__init__()
        self.layer1: nn.Sequential
        self.layer2: nn.Sequential
        self.layer3: nn.Sequential
        self.stem = ConvolutionUnit(3, stem, stride=2)
        before = stem
        for number, (width, count) in enumerate(zip(widths, blocks, strict=True), start=1):
            stage = nn.Sequential()
            for position in range(count):
                stage.append(ResidualUnit(before, width, 2 if position == 0 else 1))
                before = width
            setattr(self, f"layer{number}", stage)
        initialise(self, ())
        self.pyramid = FeaturePyramid(widths, channels)
        self.detector = Head(channels, classes, len(widths), tower, channels // 8, dropout)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images [B, 3, H, W] to scores [B, C, P] and boxes [B, 5, P]."""
        first = self.layer1(self.stem(images))
        second = self.layer2(first)
        answer: tuple[Tensor, Tensor] = self.detector(self.pyramid([first, second, self.layer3(second)]))
        return answer
