"""Architectures of the track by name. Importing this package does not import torch: the parent process reads the names alone.

Every network is a plain ``nn.Module`` that returns logits [B, classes], or ``(logits, exits, exit_embeddings)`` where it has
earlier exits. It declares where a method may look at it:

- ``taps``: pairs of a stage's name (``stage1`` … ``stageN``, shallow to deep) and the path of the submodule whose output
  is the stage's feature map [B, C, H, W], after the stage's last activation where it has one;
- ``head``: the path of its last linear layer, whose input is the embedding [B, D].

A name with a colon is a reference to a network that is not listed (:mod:`.references`); where it may be looked at is found by :mod:`.taps`.

Parameter names and shapes are those of the public CIFAR benchmark (RepDistiller: Tian et al. 2020, arXiv 1910.10699), so
that its checkpoints load.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kdarena.tracks.classification.models.references import FORMS, Facts, is_reference, parse

if TYPE_CHECKING:
    from torch import nn

_PLAIN = (16, 16, 32, 64)
_TIMES_FOUR = (32, 64, 128, 256)


@dataclass(frozen=True)
class Architecture:
    """How a named network is built.

    Attributes:
        module: the module of this package that defines it.
        builder: the class in it.
        arguments: what the class is called with, in addition to ``classes`` and ``in_channels``.
        dropout: whether the class takes ``dropout``.
        branches: whether each tap is a whole stage, the last followed by nothing but averaging and a linear layer, so that
            the network can be cut behind a stage.
        exits: its earlier exits.
    """

    module: str
    builder: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    dropout: bool = False
    branches: bool = False
    exits: int = 0


def _resnet(depth: int, widths: tuple[int, ...] = _PLAIN) -> Architecture:
    return Architecture("resnet", "ResNet", {"blocks": (depth - 2) // 6, "widths": widths}, dropout=True, branches=True)


def _wide(depth: int, width: int) -> Architecture:
    return Architecture("wide_resnet", "WideResNet", {"depth": depth, "width": width}, dropout=True)


def _vgg(*convolutions: int) -> Architecture:
    return Architecture("vgg", "VGG", {"convolutions": convolutions})


ARCHITECTURES: Mapping[str, Architecture] = {
    "digits-student": Architecture("digits", "DigitsNetwork", {"widths": (4, 6, 6), "units": (1, 1, 1)}, dropout=True, branches=True),
    "digits-teacher": Architecture("digits", "DigitsNetwork", {"widths": (16, 32, 32), "units": (1, 2, 2)}, dropout=True, branches=True),
    **{f"resnet{depth}": _resnet(depth) for depth in (8, 14, 20, 32, 44, 56, 110)},
    "resnet8x4": _resnet(8, _TIMES_FOUR),
    "resnet32x4": _resnet(32, _TIMES_FOUR),
    "resnet50": Architecture("resnet_bottleneck", "BottleneckResNet", {"blocks": (3, 4, 6, 3)}, dropout=True, branches=True),
    **{f"wrn-{depth}-{width}": _wide(depth, width) for depth, width in ((16, 1), (16, 2), (40, 1), (40, 2))},
    "vgg8": _vgg(1, 1, 1, 1, 1),
    "vgg11": _vgg(1, 1, 2, 2, 2),
    "vgg13": _vgg(2, 2, 2, 2, 2),
    "vgg16": _vgg(2, 2, 3, 3, 3),
    "vgg19": _vgg(2, 2, 4, 4, 4),
    "mobilenetv2": Architecture("mobilenet", "MobileNetV2", {"expansion": 6, "width": 0.5}),
    "shufflenetv1": Architecture("shufflenet", "ShuffleNetV1", {"groups": 3}, branches=True),
    "shufflenetv2": Architecture("shufflenet", "ShuffleNetV2"),
    "msdnet": Architecture("msdnet", "MSDNet", exits=6),
}
"""All architectures of the track by name."""


def find(name: str) -> Architecture:
    """The architecture of that name; raises ``ValueError`` in one line that lists the known ones."""
    if name not in ARCHITECTURES:
        raise ValueError(f"unknown architecture {name!r}; known: {', '.join(ARCHITECTURES)}; or {FORMS}")
    return ARCHITECTURES[name]


def facts(name: str, classes: int = 10, in_channels: int = 3, image_size: tuple[int, int] | None = None) -> Facts:
    """What a card has to know of a network, listed or by reference; imports torch for references alone, and looks at each once.

    Args:
        image_size: height and width of the images that it will see; None: those that it is meant for.

    Raises:
        ValueError: in one line: there is no such network, or it can't take such images.
    """
    if is_reference(name):
        return _facts_of_reference(name, classes, in_channels, image_size)
    found = find(name)
    return Facts(found.branches, found.exits, found.dropout)


@functools.cache
def _facts_of_reference(name: str, classes: int, in_channels: int, image_size: tuple[int, int] | None) -> Facts:
    from kdarena.tracks.classification.models import unlisted

    return unlisted.facts(parse(name), classes, in_channels, image_size)


def create(architecture: str, classes: int, dropout: float = 0.0, in_channels: int = 3, image_size: tuple[int, int] | None = None) -> nn.Module:
    """A network on the CPU, initialised from torch's global generator.

    Args:
        architecture: a key of :data:`ARCHITECTURES`, or a reference.
        classes: number of logits.
        dropout: probability of the dropout between the convolutions of its residual blocks, as ``nn.Dropout`` modules; 0: none.
        in_channels: channels of the images.
        image_size: height and width of the images, which a referenced network may depend on; None: those that it is meant for.

    Raises:
        ValueError: the name is unknown, or the network has no residual blocks to put dropout into; a referenced network can't take such images.
    """
    if is_reference(architecture):
        from kdarena.tracks.classification.models import unlisted

        return unlisted.create(parse(architecture), classes, in_channels, image_size, dropout)
    found = find(architecture)
    options = dict(found.arguments)
    if dropout:
        if not found.dropout:
            with_dropout = ", ".join(name for name, each in ARCHITECTURES.items() if each.dropout)
            raise ValueError(f"architecture {architecture!r} has no dropout; these have: {with_dropout}")
        options["dropout"] = dropout
    module = importlib.import_module(f"{__name__}.{found.module}")
    network: nn.Module = getattr(module, found.builder)(classes=classes, in_channels=in_channels, **options)
    return network
