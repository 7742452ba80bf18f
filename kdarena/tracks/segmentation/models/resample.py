"""Bilinear resizing and adaptive average pooling as products with two small matrices.

Both are linear and separable, so that they are ``R x Cᵀ`` with a matrix for rows and one for columns, or, where the grids of a
pyramid are small, one product with their Kronecker product. Their gradients are products as well: on a CPU more than ten times as
fast as those of ``torch.nn.functional.interpolate``, and deterministic on a GPU.
"""

from __future__ import annotations

import functools
import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def upsampled(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps [B, C, h, w] to [B, C, H, W], bilinear with corners aligned, as ``interpolate(…, align_corners=True)`` in fp32."""
    height, width = maps.shape[2:]
    if (height, width) == size:
        return maps.float()
    return _product(interpolation(height, size[0], maps.device), maps, interpolation(width, size[1], maps.device))


def average_pooled(maps: Tensor, bins: tuple[int, ...]) -> Tensor:
    """Maps [B, C, h, w] to the means of b × b regions for each b of ``bins``, as ``adaptive_avg_pool2d`` in fp32, side by side [B, C, Σ b²]."""
    with _in_fp32(maps.device):
        cells: Tensor = maps.float().flatten(2) @ pyramid(maps.shape[2], maps.shape[3], bins, maps.device)
    return cells


def spread(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """A grid's b × b cells [B, C, b²] to maps [B, C, H, W] in fp32, as :func:`upsampled` does."""
    bins = math.isqrt(cells.shape[2])
    with _in_fp32(cells.device):
        maps: Tensor = (cells.float() @ spreading(bins, *size, cells.device)).unflatten(2, size)
    return maps


def _in_fp32(device: torch.device) -> AbstractContextManager[Any]:
    """Without autocast; an exported program has none, and could not be loaded with its absence as a part of it."""
    return nullcontext() if torch.compiler.is_exporting() else torch.autocast(device.type, enabled=False)


def _product(rows: Tensor, maps: Tensor, columns: Tensor) -> Tensor:
    # fp32 throughout, since a mean or a weight rounded to bf16 would move scores
    with _in_fp32(maps.device):
        return rows @ (maps.float() @ columns.T)


@functools.lru_cache(maxsize=128)
def interpolation(before: int, after: int, device: torch.device) -> Tensor:
    """The matrix [after, before] of linear interpolation in which the first and the last samples coincide."""
    with torch.inference_mode(False), torch.no_grad():
        positions = torch.linspace(0, before - 1, after, dtype=torch.float64) if after > 1 else torch.zeros(1, dtype=torch.float64)
        below = positions.floor().clamp(max=max(before - 2, 0)).long()
        above = (below + 1).clamp(max=before - 1)
        matrix = torch.zeros(after, before, dtype=torch.float64)
        every = torch.arange(after)
        matrix[every, below] = 1 - (positions - below)
        matrix[every, above] += positions - below
        return matrix.float().to(device)


@functools.lru_cache(maxsize=128)
def regions(before: int, bins: int, device: torch.device) -> Tensor:
    """The matrix [bins, before] of means over regions from ⌊i·before/bins⌋ up to ⌈(i + 1)·before/bins⌉."""
    with torch.inference_mode(False), torch.no_grad():
        number, position = torch.arange(bins)[:, None], torch.arange(before)
        inside = (position >= number * before // bins) & (position < -(-(number + 1) * before // bins))
        return (inside.float() / inside.sum(dim=1, keepdim=True)).to(device)


@functools.lru_cache(maxsize=32)
def pyramid(height: int, width: int, bins: tuple[int, ...], device: torch.device) -> Tensor:
    """The matrix [height · width, Σ b²] of means over the regions of all grids."""
    with torch.inference_mode(False), torch.no_grad():
        levels = [torch.kron(regions(height, each, device), regions(width, each, device)) for each in bins]
        return torch.cat(levels).T.contiguous()


@functools.lru_cache(maxsize=64)
def spreading(bins: int, height: int, width: int, device: torch.device) -> Tensor:
    """The matrix [bins², height · width] of bilinear interpolation."""
    with torch.inference_mode(False), torch.no_grad():
        return torch.kron(interpolation(bins, height, device), interpolation(bins, width, device)).T.contiguous()
