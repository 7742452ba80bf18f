"""Architectures of the track by name. Importing this package does not import torch: the parent process reads the names alone.

Every network is a plain ``nn.Module`` from images [B, 3, H, W] to ``(scores [B, C, P], boxes [B, 5, P])`` at the P places of all levels of its pyramid,
level after level, line by line: logits of the classes; distances from the place to the box's left, top, right and bottom side in strides of
the level, which are not negative, and the logit of the centre-ness. It declares

- ``taps``: pairs of a stage's name (``stage1`` … of the backbone, then ``p3`` … of the pyramid) and the path of the submodule whose output is
  that feature map [B, C_i, H_i, W_i].
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kdarena.tracks.detection.pyramid import Pyramid

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Architecture:
    """How a named network is built.

    Attributes:
        module: the module of this package that defines it.
        builder: the class in it.
        pyramid: its levels.
        arguments: what the class is called with, in addition to ``classes`` and ``dropout``.
    """

    module: str
    builder: str
    pyramid: Pyramid
    arguments: Mapping[str, Any] = field(default_factory=dict)


PAPER = Pyramid((8, 16, 32, 64, 128), offset=0)
"""Levels of the paper, at the places of torchvision's weights."""
SMALL = Pyramid((4, 8, 16), reach=3)
"""Levels for images of some 50 pixels."""


def _small(stem: int, widths: tuple[int, ...], blocks: tuple[int, ...], channels: int, tower: int) -> Architecture:
    return Architecture("fcos", "FCOS", SMALL, {"stem": stem, "widths": widths, "blocks": blocks, "channels": channels, "tower": tower})


ARCHITECTURES: Mapping[str, Architecture] = {
    "fcos-tiny": _small(12, (16, 24, 32), (1, 1, 1), 16, 1),
    "fcos-small": _small(16, (32, 48, 64), (2, 2, 2), 32, 1),
    "fcos-resnet50": Architecture("zoo", "FCOSResNet50", PAPER),
    "fcos-mobilenetv3": Architecture("zoo", "FCOSMobileNetV3", PAPER),
}
"""All architectures of the track by name."""


def find(name: str) -> Architecture:
    """The architecture of that name; raises ``ValueError`` in one line that lists the known ones."""
    if name not in ARCHITECTURES:
        raise ValueError(f"unknown architecture {name!r}; known: {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]


def pyramid_of(teacher: str, student: str) -> Pyramid:
    """The levels of a pair; raises ``ValueError`` in one line where the two look at different places, since nothing could be compared place by place."""
    theirs, own = find(teacher).pyramid, find(student).pyramid
    if theirs != own:
        levels = " and ".join(f"{name} on levels of stride {', '.join(map(str, pyramid.strides))}" for name, pyramid in ((teacher, theirs), (student, own)))
        raise ValueError(f"{levels} look at different places; take a pair with the same levels")
    return own


def create(architecture: str, classes: int, dropout: float = 0.0) -> nn.Module:
    """A network on the CPU, initialised from torch's global generator.

    Args:
        architecture: a key of :data:`ARCHITECTURES`.
        classes: number of scores of a place.
        dropout: probability with which whole channels are dropped before the classifier, as ``nn.Dropout2d`` modules; 0: none.

    Raises:
        ValueError: the name is unknown.
    """
    entry = find(architecture)
    module = importlib.import_module(f"{__name__}.{entry.module}")
    network: nn.Module = getattr(module, entry.builder)(classes=classes, dropout=dropout, **entry.arguments)
    return network
