"""Attention estimators, which squeeze the maps of all stages into one descriptor, and the critic with a class head."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class AttentionEstimator(nn.Module):
    """Level i: a stage's map and the global descriptor to a squeezed descriptor.

        g̃^{b,i} = Conv1×1(g^b);  L̂ = L + g̃^{b,i};  M = softmax over positions of Ŵ * L̂;  g̃^{a,i} = pool(M ⊙ X)

    Args:
        channels: F_i, of the map.
        dimension: of g^b.
        attend: X is L̂ (``sum``, the equation) or L (``map``, the figure).
        pool: ``sum`` over positions, or ``avg``, which is that over H · W (the equation).
    """

    def __init__(self, channels: int, dimension: int, attend: str, pool: str):
        super().__init__()
        self.from_global = nn.Conv2d(dimension, channels, 1)
        # without bias: a constant added to all scores changes nothing
        self.score = nn.Conv2d(channels, 1, 1, bias=False)
        self.attend, self.pool = attend, pool

    def forward(self, feature_map: Tensor, descriptor: Tensor) -> Tensor:
        """L [B, F_i, H, W] and g^b [B, d] to g̃^{a,i} [B, F_i]."""
        shifted = feature_map + self.from_global(descriptor[:, :, None, None])
        attention = self.attention(shifted)
        attended = shifted if self.attend == "sum" else feature_map
        squeezed = torch.einsum("bp,bcp->bc", attention, attended.flatten(2).float())
        return squeezed if self.pool == "sum" else squeezed / attention.shape[1]

    def attention(self, shifted: Tensor) -> Tensor:
        """M [B, H · W] of L̂: non-negative, sums to 1 over the positions."""
        return torch.softmax(self.score(shifted).flatten(1).float(), dim=1)


class Squeezer(nn.Module):
    """All levels of one network: channel transforms to the teacher's widths, g^b, and an estimator a level.

    Args:
        widths: F_i, the teacher's, shallow to deep.
        dimension: of g^b.
        channels: of the student's stages, each of which has a channel transform; None: the teacher's own, without.
    """

    def __init__(self, widths: Sequence[int], dimension: int, attend: str, pool: str, channels: Sequence[int] | None = None):
        super().__init__()
        self.transforms = nn.ModuleList(
            nn.Identity() if channels is None else nn.Conv2d(channels[level], width, 1, bias=False) for level, width in enumerate(widths)
        )
        self.to_global = nn.Conv2d((channels or widths)[-1], dimension, 1)
        self.estimators = nn.ModuleList(AttentionEstimator(width, dimension, attend, pool) for width in widths)

    def forward(self, *maps: Tensor) -> Tensor:
        """Maps [B, C_i, H_i, W_i] to g^a [B, Σ F_i], the levels side by side."""
        descriptor = self.to_global(maps[-1]).mean(dim=(2, 3))
        levels = zip(self.estimators, self.transforms, maps, strict=True)
        return torch.cat([estimator(transform(one), descriptor).float() for estimator, transform, one in levels], dim=1)


class Critic(nn.Module):
    """Logits [B, N] to N + 1 outputs: one says teacher (high) or student, N name the class.

    BN - FC - BN-ReLU - FC - BN-ReLU - FC, as the paper's figure has it; its widths are not given.

    Args:
        classes: N.
        width: of both hidden layers.
    """

    def __init__(self, classes: int, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm1d(classes),
            nn.Linear(classes, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Linear(width, classes + 1),
        )

    def forward(self, logits: Tensor) -> Tensor:
        """[B, N] to [B, N + 1]: the unit of D before its sigmoid, then the classes'."""
        answer: Tensor = self.layers(logits)
        return answer

    def weights(self) -> list[Tensor]:
        """w_D: the weights of its linear layers, without biases and batch norm."""
        return [layer.weight for layer in self.layers if isinstance(layer, nn.Linear)]
