"""Discriminator D_k, transfer layer T_k, and what of a network counts as its feature extractor G_k."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdarena import masked_layer


class Discriminator(nn.Module):
    """D: a feature map [B, C, H, W] to one value in (0, 1) an image [B].

    Strided 3 × 3 convolutions with batch norm and LeakyReLU, each halving the grid, the channels halved from the second on;
    a convolution to one channel; the mean over positions; a sigmoid. The paper gives only its range; the layers are ours.
    Of a sequence's map only the real positions count, in batch norm and mean as well.

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

    def forward(self, feature_map: Tensor, tokens: Tensor | None = None) -> Tensor:
        """[B, C, H, W] to [B]; of sequences [B, C, L, 1], whose map is zero where ``tokens`` [B, L] is false."""
        if tokens is None:
            return torch.sigmoid(self.layers(feature_map).mean(dim=(1, 2, 3)))
        real = tokens[:, None, :, None]
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d) and layer.stride[0] == 2:
                # a place of the halved grid is real where the middle of what it sees is
                real = real[:, :, ::2, ::2]
            feature_map = masked_layer(layer, feature_map, real)
        return torch.sigmoid(feature_map.sum(dim=(1, 2, 3)) / real.sum(dim=(1, 2, 3)))


class TransferLayer(nn.Module):
    """T: a map to the common shape: 1 × 1 convolution, batch norm, ReLU, and average pooling to the grid where the networks' grids differ.

    Args:
        channels: C_k.
        common_channels: C.
        grid: (H, W); None where all networks have the same, which a sequence's map changes from batch to batch.
    """

    def __init__(self, channels: int, common_channels: int, grid: tuple[int, int] | None):
        super().__init__()
        self.grid = grid
        self.layers = nn.Sequential(nn.Conv2d(channels, common_channels, 1, bias=False), nn.BatchNorm2d(common_channels), nn.ReLU())

    def forward(self, feature_map: Tensor, tokens: Tensor | None = None) -> Tensor:
        """[B, C_k, H_k, W_k] to [B, C, H, W]; of sequences [B, C_k, L, 1] both are zero where ``tokens`` [B, L] is false."""
        for layer in self.layers:
            feature_map = layer(feature_map) if tokens is None else masked_layer(layer, feature_map, tokens[:, None, :, None])
        return feature_map if self.grid is None else functional.adaptive_avg_pool2d(feature_map, self.grid)


def feature_extractor(network: nn.Module) -> list[nn.Parameter]:
    """Parameters of G_k: all of a network's but those of its last linear layer, of which L_G trains those that its map depends on."""
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    head = {id(parameter) for parameter in linear[-1].parameters()} if linear else set()
    return [parameter for parameter in network.parameters() if id(parameter) not in head]
