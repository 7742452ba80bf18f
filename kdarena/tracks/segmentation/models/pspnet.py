"""PSPNets (Zhao et al. 2017, arXiv 1612.01105): a dilated residual network, pyramid pooling, and an auxiliary head in training."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from kdarena.tracks.segmentation.models.layers import (
    BasicBlock,
    ConvolutionUnit,
    PyramidPooling,
    ResidualUnit,
    Taps,
    dropout_before_classifier,
    initialise,
)


class PSPNet(nn.Module):
    """Stem, four stages, pyramid pooling and a classifier; the auxiliary head looks at stage 3.

    Args:
        classes: channels of the score map.
        stem: channels of the stem, whose first convolution halves the grid.
        pool: whether a pooling halves it once more, as ResNet's does.
        widths: channels of the four stages.
        blocks: blocks of each stage.
        strides, dilations: of each stage; the product of the strides with the stem's is the output stride.
        basic: blocks of two convolutions (ResNet's) instead of one.
        psp: channels behind the pyramid.
        dropout: of whole channels before each classifier.
        in_channels: channels of the images.
    """

    taps: Taps = (("stage1", "layer1"), ("stage2", "layer2"), ("stage3", "layer3"), ("stage4", "layer4"), ("psp", "pyramid"))
    score_layers = ("classifier.1", "auxiliary.2")

    def __init__(
        self,
        classes: int,
        stem: int,
        widths: Sequence[int],
        blocks: Sequence[int],
        strides: Sequence[int],
        dilations: Sequence[int],
        psp: int,
        pool: bool = False,
        basic: bool = False,
        dropout: float = 0.0,
        in_channels: int = 3,
    ):
        super().__init__()
        self.layer1: nn.Sequential
        self.layer2: nn.Sequential
        self.layer3: nn.Sequential
        self.layer4: nn.Sequential
        self.stem = nn.Sequential(ConvolutionUnit(in_channels, stem, 7 if pool else 3, stride=2))
        if pool:
            self.stem.append(nn.MaxPool2d(3, 2, padding=1))
        block = BasicBlock if basic else ResidualUnit
        channels = stem
        for number, (width, count, stride, dilation) in enumerate(zip(widths, blocks, strides, dilations, strict=True), start=1):
            stage = nn.Sequential()
            for position in range(count):
                stage.append(block(channels, width, stride if position == 0 else 1, dilation))
                channels = width
            setattr(self, f"layer{number}", stage)
        self.pyramid = PyramidPooling(channels, psp)
        self.classifier = nn.Sequential(dropout_before_classifier(dropout), nn.Conv2d(psp, classes, 1))
        inner = max(8, widths[2] // 4)
        self.auxiliary = nn.Sequential(ConvolutionUnit(widths[2], inner), dropout_before_classifier(dropout), nn.Conv2d(inner, classes, 1))
        initialise(self, self.score_layers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images [B, in_channels, H, W] to scores [B, classes, h, w], and in train mode the auxiliary head's, else None."""
        third = self.layer3(self.layer2(self.layer1(self.stem(x))))
        scores: Tensor = self.classifier(self.pyramid(self.layer4(third)))
        if not self.training:
            return scores, None
        auxiliary = self.auxiliary(third)
        # a method that learns from the scores alone leaves the auxiliary head without a loss: its gradient is then zero, not missing
        return scores + 0 * auxiliary.mean(), auxiliary
