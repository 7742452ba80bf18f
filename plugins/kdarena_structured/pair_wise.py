"""The pair-wise loss: how alike two places of a feature map are, the same for the student as for the teacher (symbols: ``method.py``)."""

import torch
from torch import Tensor
from torch.nn import functional

EPSILON = 1e-8
"""What the public code adds to a detached norm."""
MANY = 4
"""Nodes for each channel of both networks from which on channels are cheaper to compare than pairs of nodes, though in float64 (which MPS lacks)."""


def grid(size: tuple[int, int], patch: int) -> tuple[int, int]:
    """Nodes by height and width of a map of this size: patches at its lower and right edge may be smaller."""
    return -(-size[0] // patch), -(-size[1] // patch)


def nodes(feature_map: Tensor, patch: int, pool: str) -> Tensor:
    """Patches of a map [B, C, H, W] pooled (``avg`` or ``max``) to [B, C, ⌈H/patch⌉, ⌈W/patch⌉]."""
    # a patch larger than the map is the map
    kernel = (min(patch, feature_map.shape[2]), min(patch, feature_map.shape[3]))
    if pool == "max":
        return functional.max_pool2d(feature_map, kernel, ceil_mode=True)
    return functional.avg_pool2d(feature_map, kernel, ceil_mode=True)


def directions(f: Tensor, norm: str = "cosine") -> Tensor:
    """f_i / ‖f_i‖ [B, C, n] of nodes [B, C, h, w], n = h · w.

    Args:
        norm: ``cosine``; ``detached`` passes no gradient through the norms, which then isn't the gradient of a cosine (public code).
    """
    f = f.flatten(2).float()
    squared = f.square().sum(dim=1, keepdim=True)
    # a node of zeros (behind a ReLU) stays zero; a division by its norm would make its gradient infinite
    alive = squared > torch.finfo(torch.float32).tiny
    length = torch.where(alive, squared, 1.0).sqrt()
    return f / (length.detach() + EPSILON if norm == "detached" else length)


def affinity(unit: Tensor) -> Tensor:
    """a [B, n, n] of directions [B, C, n]."""
    return unit.transpose(1, 2) @ unit


def neighbours(height: int, width: int, alpha: int, device: torch.device | None = None) -> Tensor:
    """N [n, n] of booleans: row i holds the α nodes nearest to i by Euclidean distance on the grid, i itself the first.

    Of nodes at the same distance those of the smaller index come first.
    """
    row = torch.arange(height, device=device).repeat_interleave(width)
    column = torch.arange(width, device=device).repeat(height)
    # squares of whole numbers, so that ties are exact
    distance = (row[:, None] - row) ** 2 + (column[:, None] - column) ** 2
    nearest = distance.argsort(dim=1, stable=True)[:, :alpha]
    return torch.zeros_like(distance, dtype=torch.bool).scatter_(1, nearest, True)


def same_grid(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps [B, C, H, W], each average-pooled to the smaller of both heights and widths."""
    size = (min(one.shape[2], other.shape[2]), min(one.shape[3], other.shape[3]))
    first, second = (pooled if tuple(pooled.shape[2:]) == size else functional.adaptive_avg_pool2d(pooled, size) for pooled in (one, other))
    return first, second


def by_channels(unit_s: Tensor, unit_t: Tensor) -> Tensor:
    """ℓ_pa of fully connected nodes from directions [B, C_s, n] and [B, C_t, n], without an affinity.

    ‖a^s − a^t‖_F² = Σ_kl σ_k σ_l G_kl², where G = U Uᵀ [C_s + C_t, C_s + C_t], U both networks' channels one above the other, and σ is
    +1 for the student's and −1 for the teacher's. In float64, since the parts nearly cancel.
    """
    unit = torch.cat([unit_s, unit_t], dim=1).double()
    sign = torch.ones(unit.shape[1], dtype=unit.dtype, device=unit.device)
    sign[unit_s.shape[1] :] = -1
    gram = unit @ unit.transpose(1, 2)
    total = (gram.square() * sign * sign[:, None]).sum()
    return (total / (len(unit) * unit.shape[2] ** 2)).float()


def pair_wise(f_s: Tensor, f_t: Tensor, connected: Tensor | None = None, norm: str = "cosine") -> Tensor:
    """ℓ_pa of nodes of student and teacher [B, C_s, h, w] and [B, C_t, h, w].

    Args:
        connected: N [n, n] of :func:`neighbours`, each row with the same number of nodes; None: all are connected.
    """
    unit_s, unit_t = directions(f_s, norm), directions(f_t, norm)
    if connected is None and unit_s.shape[2] > MANY * (unit_s.shape[1] + unit_t.shape[1]) and unit_s.device.type != "mps":
        return by_channels(unit_s, unit_t)
    squared = (affinity(unit_s) - affinity(unit_t)).square()
    return squared.mean() if connected is None else (squared * connected).sum() / (connected.sum() * len(squared))
