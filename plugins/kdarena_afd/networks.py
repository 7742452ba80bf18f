"""Discriminator D_k, transfer layer T_k, and what of a network counts as its feature extractor G_k."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Discriminator(nn.Module):
    """D: a feature map [B, C, H, W] to one value in (0, 1) an image [B].

    Strided 3 × 3 convolutions with batch norm and LeakyReLU, each halving the grid, the channels halved from the second on;
    a convolution to one channel; the mean over positions; a sigmoid. The paper gives only its range; the layers are ours.

    Args:
        channels: C.
        depth: number of strided convolutions.
    """

    def __init__(self, channels: int, depth: int):
        super().__init__()
        layers: list[nn.Module] = []
        width = channels
        for layer in range(depth):
            narrower = width if layer == 0 else max(1, width // 2)
            layers += [nn.Conv2d(width, narrower, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(narrower), nn.LeakyReLU(0.2)]
            width = narrower
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 1, 1))

    def forward(self, feature_map: Tensor) -> Tensor:
        """[B, C, H, W] to [B]."""
        return torch.sigmoid(self.layers(feature_map).mean(dim=(1, 2, 3)))


class TransferLayer(nn.Module):
    """T: a map to the common shape: 1 × 1 convolution, batch norm, ReLU, average pooling to the grid."""

    def __init__(self, channels: int, common: tuple[int, int, int]):
        super().__init__()
        common_channels, *grid = common
        self.grid = (grid[0], grid[1])
        self.layers = nn.Sequential(nn.Conv2d(channels, common_channels, 1, bias=False), nn.BatchNorm2d(common_channels), nn.ReLU())

    def forward(self, feature_map: Tensor) -> Tensor:
        """[B, C_k, H_k, W_k] to [B, C, H, W]."""
        return functional.adaptive_avg_pool2d(self.layers(feature_map), self.grid)


def feature_extractor(network: nn.Module) -> list[nn.Parameter]:
    """Parameters of G_k: all of a network's but those of its last linear layer."""
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    head = {id(parameter) for parameter in linear[-1].parameters()} if linear else set()
    return [parameter for parameter in network.parameters() if id(parameter) not in head]
