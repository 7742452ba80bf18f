"""Parts that several architectures share."""

from __future__ import annotations

from torch import nn

Taps = tuple[tuple[str, str], ...]
"""Stage name and path of the submodule that puts out its feature map, shallow to deep."""


def convolution(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution without bias, padded so that stride 1 keeps the grid."""
    return nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)


def between_convolutions(dropout: float) -> nn.Module:
    """What is between the convolutions of a residual block: dropout where asked for.

    It is a module, so that a method can keep it alive in a teacher whose other modules are in eval mode.
    """
    return nn.Dropout(dropout) if dropout else nn.Identity()


def initialise(network: nn.Module) -> None:
    """He initialisation of convolutions by fan-out (He et al. 2015, arXiv 1502.01852); batch norm starts as the identity."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
