"""Architectures of the track by name. Importing this package does not import torch: the parent process reads the names alone.

Every network is a plain ``nn.Module`` from images [B, 3, H, W] to scores [B, classes, h, w] on its own grid, or to
``(scores, auxiliary scores)``, the latter None in eval mode. It declares

- ``taps``: pairs of a stage's name (``stage1`` … ``stage4``, then ``psp`` or ``decoder``) and the path of the submodule whose
  output is that feature map [B, C_i, H_i, W_i];
- ``score_layers``: the paths of the convolutions whose bias is added to the scores, one a head.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Architecture:
    """How a named network is built.

    Attributes:
        module: the module of this package that defines it.
        builder: the class in it.
        arguments: what the class is called with, in addition to ``classes`` and ``dropout``.
    """

    module: str
    builder: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


def _small(stem: int, widths: tuple[int, ...], blocks: tuple[int, ...], psp: int) -> Architecture:
    """Output stride 4, so that the smallest digits of the scenes keep four positions of the score map."""
    sizes = {"stem": stem, "widths": widths, "blocks": blocks, "psp": psp}
    return Architecture("pspnet", "PSPNet", {**sizes, "strides": (2, 1, 1, 1), "dilations": (1, 1, 1, 1)})


def _residual(blocks: tuple[int, ...], share: float = 1.0) -> Architecture:
    """ResNet's widths or a share of them, output stride 8."""
    widths = tuple(int(share * width) for width in (64, 128, 256, 512))
    sizes = {"stem": widths[0], "widths": widths, "blocks": blocks, "psp": widths[1]}
    return Architecture("pspnet", "PSPNet", {**sizes, "strides": (1, 2, 1, 1), "dilations": (1, 1, 2, 4), "pool": True, "basic": True})


def _unet(widths: tuple[int, ...], blocks: tuple[int, ...]) -> Architecture:
    return Architecture("encoder_decoder", "EncoderDecoder", {"widths": widths, "blocks": blocks})


ARCHITECTURES: Mapping[str, Architecture] = {
    "pspnet-tiny": _small(12, (16, 16, 24, 24), (1, 1, 1, 1), 24),
    "pspnet-small": _small(16, (32, 32, 48, 48), (1, 2, 2, 2), 48),
    "pspnet18-quarter": _residual((2, 2, 2, 2), 0.25),
    "pspnet18-half": _residual((2, 2, 2, 2), 0.5),
    "pspnet18": _residual((2, 2, 2, 2)),
    "pspnet34": _residual((3, 4, 6, 3)),
    "unet-tiny": _unet((8, 12, 16, 24), (1, 1, 1, 1)),
    "unet-small": _unet((16, 32, 48, 64), (1, 2, 2, 2)),
    "unet": _unet((32, 64, 128, 256), (2, 2, 2, 2)),
    "deeplabv3-resnet50": Architecture("zoo", "DeepLabV3", {"depth": 50}),
    "deeplabv3-resnet101": Architecture("zoo", "DeepLabV3", {"depth": 101}),
    "lraspp-mobilenetv3": Architecture("zoo", "LRASPP"),
}
"""All architectures of the track by name."""


def find(name: str) -> Architecture:
    """The architecture of that name; raises ``ValueError`` in one line that lists the known ones."""
    if name not in ARCHITECTURES:
        raise ValueError(f"unknown architecture {name!r}; known: {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]


def create(architecture: str, classes: int, dropout: float = 0.0) -> nn.Module:
    """A network on the CPU, initialised from torch's global generator.

    Args:
        architecture: a key of :data:`ARCHITECTURES`.
        classes: number of scores.
        dropout: probability with which whole channels are dropped before the classifier, as ``nn.Dropout2d`` modules; 0: none.

    Raises:
        ValueError: the name is unknown.
    """
    entry = find(architecture)
    module = importlib.import_module(f"{__name__}.{entry.module}")
    network: nn.Module = getattr(module, entry.builder)(classes=classes, dropout=dropout, **entry.arguments)
    return network
