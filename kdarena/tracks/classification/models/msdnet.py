"""MSDNet: a multi-scale dense network with an exit behind each of its blocks, for images of CIFAR's size and smaller.

Huang, Chen, Li, Wu, van der Maaten, Weinberger: "Multi-Scale Dense Networks for Resource Efficient Image Classification",
ICLR 2018, https://arxiv.org/abs/1703.09844

A layer keeps maps at S scales, each of half the grid of the one before, and appends to each what it makes of that map and of
the next finer one, so that the coarsest map serves an exit at any depth. The finest scale is dropped twice along the depth
(for S = 3), where the channels are halved too: the paper's network reduction. Student: its CIFAR-100 network for anytime
prediction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice

from torch import Tensor, nn
from torch import cat as concatenated

from kdarena.tracks.classification.models.layers import Taps, convolution, initialise

EXIT_CHANNELS = 128


def unit(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """A convolution, batch norm and ReLU."""
    return nn.Sequential(convolution(in_channels, out_channels, kernel, stride), nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


def bottleneck(in_channels: int, out_channels: int, width: int, stride: int = 1) -> nn.Sequential:
    """A 1 x 1 unit to at most ``width`` times the output's channels, then a 3 x 3 unit."""
    inner = min(in_channels, width * out_channels)
    return nn.Sequential(unit(in_channels, inner, 1), unit(inner, out_channels, 3, stride))


class Scale(nn.Module):
    """One scale of a layer: its map, concatenated with what is made of the next finer map and of itself.

    Args:
        channels: of the map at this scale.
        growth: channels that are appended; half of them come from the finer map where there is one.
        finer: channels of the next finer map, or None.
        widths: of the bottlenecks on the finer map and on this scale's.
    """

    def __init__(self, channels: int, growth: int, finer: int | None, widths: tuple[int, int]):
        super().__init__()
        appended = growth if finer is None else growth // 2
        self.down = None if finer is None else bottleneck(finer, appended, widths[0], stride=2)
        self.same = bottleneck(channels, appended, widths[1])

    def forward(self, finer: Tensor | None, x: Tensor) -> Tensor:
        """[B, C', 2H, 2W] and [B, C, H, W] to [B, C + growth, H, W]."""
        made = [] if self.down is None else [self.down(finer)]
        return concatenated([x, *made, self.same(x)], dim=1)


class Stem(nn.Module):
    """The first map of each scale: a unit from the image, then strided units from scale to scale."""

    def __init__(self, in_channels: int, channels: Sequence[int]):
        super().__init__()
        self.scales = nn.ModuleList(
            unit(before, after, 3, stride=1 if scale == 0 else 2) for scale, (before, after) in enumerate(zip((in_channels, *channels), channels, strict=False))
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """An image to its maps, fine to coarse."""
        maps = []
        for scale in self.scales:
            x = scale(x)
            maps.append(x)
        return maps


class Layer(nn.Module):
    """A multi-scale dense layer; its first scale is the one behind the dropped ones.

    Args:
        channels: of the maps of the scales that it keeps, at factor 1.
        growth: appended channels, at factor 1.
        factors: channels of every scale of the network, in units of those of the first.
        first: number of the first scale that it keeps.
        drops: whether it is given one finer scale, which it drops.
    """

    def __init__(self, channels: int, growth: int, factors: Sequence[int], first: int, drops: bool):
        super().__init__()
        self.drops = drops
        self.scales = nn.ModuleList()
        for scale in range(first, len(factors)):
            factor, finer = factors[scale], factors[scale - 1] if scale > first or drops else None
            self.scales.append(Scale(channels * factor, growth * factor, finer and channels * finer, (finer or factor, factor)))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps fine to coarse to longer ones, without the finest where it is dropped."""
        finer = maps[:-1] if self.drops else [None, *maps[:-1]]
        kept = maps[1:] if self.drops else maps
        return [scale(one, x) for scale, one, x in zip(self.scales, finer, kept, strict=True)]


class Transition(nn.Module):
    """A 1 x 1 unit to fewer channels at each scale."""

    def __init__(self, before: int, after: int, factors: Sequence[int]):
        super().__init__()
        self.scales = nn.ModuleList(unit(before * factor, after * factor, 1) for factor in factors)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps fine to coarse, each by itself."""
        return [scale(x) for scale, x in zip(self.scales, maps, strict=True)]


class Exit(nn.Module):
    """A classifier on the coarsest map: two strided 3 x 3 units of 128 channels, average pooling, a linear layer."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.units = nn.Sequential(unit(channels, EXIT_CHANNELS, 3, stride=2), unit(EXIT_CHANNELS, EXIT_CHANNELS, 3, stride=2))
        self.linear = nn.Linear(EXIT_CHANNELS, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, H, W] to logits [B, classes] and embedding [B, 128]."""
        # the mean over positions is the public code's 2 x 2 pooling for images of 32 x 32, and fits smaller ones as well
        embedding = self.units(x).mean(dim=(2, 3))
        return self.linear(embedding), embedding


class MSDNet(nn.Module):
    """Blocks of multi-scale dense layers, an exit behind each.

    Attributes:
        exits: number of earlier exits, one less than there are blocks.

    Args:
        classes: number of logits of each exit.
        in_channels: channels of the images.
        blocks: how many; each has an exit.
        base: layers of the first block.
        step: layers of each later block.
        channels: of the first map at the finest scale.
        growth: channels that a layer appends at the finest scale.
        factors: channels of each scale, in units of those of the finest; also the widths of the bottlenecks.
        reduction: share of the channels that is kept where a scale is dropped.

    Raises:
        ValueError: there are too few layers to drop all scales but the coarsest.
    """

    taps: Taps
    head: str

    def __init__(
        self,
        classes: int,
        in_channels: int = 3,
        blocks: int = 7,
        base: int = 4,
        step: int = 2,
        channels: int = 16,
        growth: int = 6,
        factors: Sequence[int] = (1, 2, 4),
        reduction: float = 0.5,
    ):
        super().__init__()
        self.exits = blocks - 1
        steps = [base] + [step] * self.exits
        # the depth in as many parts as there are scales: each part begins with one scale less
        part = math.ceil(sum(steps) / len(factors))
        if math.ceil(sum(steps) / part) < len(factors):
            raise ValueError(f"{sum(steps)} layers can't be cut into {len(factors)} parts of {part}: the last layer would make maps that no exit sees")
        self.blocks = nn.ModuleList(nn.Sequential() for _ in steps)
        self.classifiers = nn.ModuleList()
        self.blocks[0].append(Stem(in_channels, [channels * factor for factor in factors]))  # type: ignore[operator]
        depth = 0
        for block, layers in zip(self.blocks, steps, strict=True):
            for _ in range(layers):
                first, drops = depth // part, depth > 0 and depth % part == 0
                block.append(Layer(channels, growth, factors, first, drops))  # type: ignore[operator]
                channels += growth
                if drops and reduction:
                    reduced = math.floor(reduction * channels)
                    block.append(Transition(channels, reduced, factors[first:]))  # type: ignore[operator]
                    channels = reduced
                depth += 1
            self.classifiers.append(Exit(channels * factors[-1], classes))
        # the coarsest map at the end of each block: what its exit sees
        self.taps = tuple((f"stage{number + 1}", _last_scale(number, block)) for number, block in enumerate(self.blocks))
        self.head = f"classifiers.{self.exits}.linear"
        initialise(self)

    def forward(self, x: Tensor, until: int | None = None) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Images [B, in_channels, H, W] to the last exit's logits [B, classes], the earlier exits' logits and their embeddings [B, 128].

        Args:
            until: number of the exit to stop at, from 1: it is the last one then; None: all.
        """
        maps: Tensor | list[Tensor] = x
        answers = []
        for block, classifier in islice(zip(self.blocks, self.classifiers, strict=True), until):
            maps = block(maps)
            answers.append(classifier(maps[-1]))
        logits, embeddings = zip(*answers, strict=True)
        return logits[-1], logits[:-1], embeddings[:-1]


def _last_scale(number: int, block: nn.Module) -> str:
    """Path of the module that puts out a block's coarsest map."""
    layer, last = list(block.named_children())[-1]
    return f"blocks.{number}.{layer}.scales.{len(last.scales) - 1}"  # type: ignore[arg-type]
