"""The visual vocabulary: k-means over the teacher's feature vectors, in steps of equal cost.

Every position (h, w) of every training image's teacher map is one point of dimension C_T (section 3.1 of the paper; raw
features, no whitening or normalisation, as in the public code). Lloyd's iterations are cut into chunks of points, so that one
step of a phase assigns one chunk, memory is bounded by chunk × K distances, and each step can be profiled and charged.
"""

import math

import torch
from torch import Tensor, nn

CHUNK = 16384
"""Points that one step assigns, at most: 16384 × 4096 distances in fp32 are 268 MB."""


def positions(feature_map: Tensor) -> Tensor:
    """[B, C, H, W] to one row a position [B · H · W, C]."""
    return feature_map.permute(0, 2, 3, 1).flatten(0, 2)


class KMeans:
    """Lloyd's algorithm: points are collected batch by batch, K random ones of them are the first centroids, and a step assigns one chunk.

    Args:
        count: N, of the points.
        channels: C_T, of a point.
        words: K ≤ N.
        device: of the points.
        chunk: points a step, at most; chunks of an iteration are of nearly equal size.

    Attributes:
        points: [N, C_T] in fp32, a buffer that is allocated once.
        collected: how many of them are there; on the device, so that collecting reads nothing back.
        centroids: [K, C_T].
    """

    def __init__(self, count: int, channels: int, words: int, device: torch.device, chunk: int = CHUNK):
        # one row more: the place of what is left out
        self._rows = torch.zeros(count + 1, channels, device=device)
        self.points, self.words = self._rows[:count], words
        self.collected = torch.zeros((), dtype=torch.long, device=device)
        self.chunks = math.ceil(count / chunk)
        self.size = math.ceil(count / self.chunks)

    def add(self, feature_map: Tensor, real: Tensor | None = None) -> None:
        """Append every position of a map [B, C_T, H, W], or those that are ``real`` [B, H · W]; what does not fit any more is left out."""
        rows, left_out = positions(feature_map), len(self.points)
        kept = torch.ones(len(rows), dtype=torch.bool, device=rows.device) if real is None else real.flatten()
        # no shape depends on what is real: every position is written, padding to the place of what is left out
        collected = (self.collected + kept.cumsum(dim=0)).clamp(max=left_out + 1)
        self._rows.index_copy_(0, torch.where(kept, collected - 1, left_out), rows)
        self.collected.copy_(collected[-1].clamp(max=left_out))

    def start(self, generator: torch.Generator) -> None:
        """Draw the first centroids; ``generator`` also draws what takes the place of empty clusters.

        Points are repeated until there are N, so that steps cost the same: after a collection that was cut short, as a profile's is, or of
        sequences that are shorter than the typical one. Raises ``ValueError`` where there is none.
        """
        collected, count = int(self.collected), len(self.points)
        if collected == 0:
            raise ValueError("no points were collected: the phase 'collect' has to come first")
        for row in range(collected, count, collected):
            self.points[row : row + collected] = self.points[: min(collected, count - row)]
        self.generator = generator
        self.centroids = self.points[torch.randperm(count, generator=generator, device=self.points.device)[: self.words]]
        self._chunk, self._sums, self._counts = 0, torch.zeros_like(self.centroids), self.centroids.new_zeros(self.words, 1)

    def step(self) -> None:
        """Assign the next chunk; where it is an iteration's last, move the centroids to the means of their points."""
        chunk = self.points[self._chunk * self.size : (self._chunk + 1) * self.size]
        # ‖v‖² − 2⟨f, v⟩ orders the words of a point as ‖v − f‖² does
        word = torch.addmm(self.centroids.square().sum(dim=1), chunk, self.centroids.T, alpha=-2).min(dim=1).indices
        self._sums.index_add_(0, word, chunk)
        self._counts.index_add_(0, word, chunk.new_ones(len(chunk), 1))
        self._chunk = (self._chunk + 1) % self.chunks
        if self._chunk == 0:
            # a word without points starts again at a random point, which can't raise the inertia; drawn for all words, so that nothing waits for the device
            seeds = self.points[torch.randint(len(self.points), (self.words,), generator=self.generator, device=self.points.device)]
            self.centroids = torch.where(self._counts > 0, self._sums / self._counts.clamp(min=1), seeds)
            self._sums, self._counts = torch.zeros_like(self._sums), torch.zeros_like(self._counts)


class Vocabulary(nn.Module):
    """The words V [K, C_T] as a buffer: no parameter, no moving average, never in an optimiser."""

    words: Tensor

    def __init__(self, words: Tensor):
        super().__init__()
        self.register_buffer("words", words.clone())


def squared_distances(f_t: Tensor, words: Tensor) -> Tensor:
    """d[p, k] = ‖v_k − f_T[p]‖² of points [P, C_T] to words [K, C_T]: [P, K] in fp32, never below zero."""
    f_t, words = f_t.float(), words.float()
    distances = f_t.square().sum(dim=1, keepdim=True) - 2 * f_t @ words.T + words.square().sum(dim=1)
    return distances.clamp(min=0)
