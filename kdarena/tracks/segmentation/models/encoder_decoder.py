"""Encoder and decoder with shortcuts between maps of one size (U-Net: Ronneberger et al. 2015, arXiv 1505.04597), residual as ESPNet is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdarena.tracks.segmentation.models.layers import ConvolutionUnit, ResidualUnit, Taps, dropout_before_classifier, initialise
from kdarena.tracks.segmentation.models.resample import upsampled


class Decoder(nn.Module):
    """From the deepest map back to the grid of the first: resize, append the encoder's map of that size, convolve.

    Args:
        widths: channels of the encoder's maps, shallow to deep.
    """

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        pairs = zip(widths[-1:0:-1], widths[-2::-1], strict=True)
        self.units = nn.ModuleList(ConvolutionUnit(deep + shallow, shallow) for deep, shallow in pairs)

    def forward(self, *maps: Tensor) -> Tensor:
        """The encoder's maps, shallow to deep, to a map [B, widths[0], H, W] on the grid of the first."""
        x = maps[-1]
        for unit, encoded in zip(self.units, maps[-2::-1], strict=True):
            resized = upsampled(x, (encoded.shape[2], encoded.shape[3])).to(encoded.dtype)
            x = unit(torch.cat([resized, encoded], dim=1))
        return x


class EncoderDecoder(nn.Module):
    """Four stages, each on half the grid of the one before, a decoder, and a classifier on half the image's grid.

    Args:
        classes: channels of the score map.
        widths: channels of the four stages.
        blocks: blocks of each stage.
        dropout: of whole channels before the classifier.
        in_channels: channels of the images.
    """

    taps: Taps = (("stage1", "layer1"), ("stage2", "layer2"), ("stage3", "layer3"), ("stage4", "layer4"), ("decoder", "decoder"))
    score_layers = ("classifier.1",)

    def __init__(self, classes: int, widths: Sequence[int], blocks: Sequence[int], dropout: float = 0.0, in_channels: int = 3):
        super().__init__()
        self.layer1: nn.Sequential
        self.layer2: nn.Sequential
        self.layer3: nn.Sequential
        self.layer4: nn.Sequential
        channels = in_channels
        for number, (width, count) in enumerate(zip(widths, blocks, strict=True), start=1):
            stage = nn.Sequential()
            for position in range(count):
                stage.append(ResidualUnit(channels, width, 2 if position == 0 else 1))
                channels = width
            setattr(self, f"layer{number}", stage)
        self.decoder = Decoder(widths)
        self.classifier = nn.Sequential(dropout_before_classifier(dropout), nn.Conv2d(widths[0], classes, 1))
        initialise(self, self.score_layers)

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, in_channels, H, W] to scores [B, classes, H / 2, W / 2]."""
        first = self.layer1(x)
        second = self.layer2(first)
        third = self.layer3(second)
        scores: Tensor = self.classifier(self.decoder(first, second, third, self.layer4(third)))
        return scores
