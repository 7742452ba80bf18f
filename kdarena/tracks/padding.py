"""Padded sequences: a helper's layers see every sequence as if it were alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def masked_layer(layer: nn.Module, maps: Tensor, real: Tensor) -> Tensor:
    """A layer's map of sequences, zero at padding; batch norm in train mode takes its statistics from real positions alone.

    Nothing is read back to the host and no shape depends on where the padding is.

    Args:
        layer: a convolution that pads with zeros, a batch norm, or a function of each entry.
        maps: [B, C, H, W], zero at padding.
        real: where the layer's own map is no padding, booleans [B, 1, H', W'].
    """
    if isinstance(layer, nn.BatchNorm2d) and layer.training:
        return _normalised(layer, maps, real)
    masked: Tensor = layer(maps) * real
    return masked


def shortened(padded: Tensor, dimensions: tuple[int, ...], length: int) -> Tensor | None:
    """The first ``length`` positions of padded sequences, in each of several dimensions; None where there are fewer."""
    for dimension in dimensions:
        if padded.shape[dimension] < length:
            return None
        padded = padded.narrow(dimension, 0, length)
    return padded


def _normalised(norm: nn.BatchNorm2d, maps: Tensor, real: Tensor) -> Tensor:
    """Batch norm by the mean and the biased variance over real positions; the running statistics move as in torch's."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    assert norm.momentum is not None
    count = real.sum().clamp(min=1)
    values = maps.float()
    mean = (values * real).sum(dim=(0, 2, 3)) / count
    centred = (values - mean[:, None, None]) * real
    variance = centred.square().sum(dim=(0, 2, 3)) / count
    with torch.no_grad():
        norm.num_batches_tracked.add_(1)
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * count / (count - 1).clamp(min=1), norm.momentum)
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    return ((centred * scale[:, None, None] + norm.bias[:, None, None]) * real).to(maps.dtype)
