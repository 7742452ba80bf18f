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


class Points:
    """The points in fp32, collected batch by batch into a buffer that is allocated once.

    Attributes:
        values: [N, C_T].
        filled: how many of them are collected; on the device, so that collecting reads nothing back.
    """

    def __init__(self, count: int, channels: int, device: torch.device):
        # one row more: a place for what is left out
        self._rows = torch.zeros(count + 1, channels, device=device)
        self.values = self._rows[:count]
        self.filled = torch.zeros((), dtype=torch.long, device=device)

    def add(self, feature_map: Tensor, real: Tensor | None = None) -> None:
        """Append every position of a map [B, C_T, H, W], or those that are ``real`` [B · H · W]; what does not fit any more is left out."""
        every, left_out = positions(feature_map), len(self.values)
        kept = torch.ones(len(every), dtype=torch.bool, device=every.device) if real is None else real
        # of shapes that do not depend on what is real: each position gets the number of the row that takes it
        filled = (self.filled + kept.cumsum(dim=0)).clamp(max=left_out + 1)
        self._rows.index_copy_(0, torch.where(kept, filled - 1, left_out), every)
        self.filled.copy_(filled[-1].clamp(max=left_out))

    def complete(self) -> None:
        """Repeat what is there until the buffer is full, so that steps cost the same: after a collection that was cut short, as profile's is, or
        of sequences that are shorter than the typical one."""
        filled, count = int(self.filled), len(self.values)
        if filled == 0:
            raise ValueError("no points were collected: the phase 'collect' has to come first")
        for start in range(filled, count, filled):
            self.values[start : start + filled] = self.values[: min(filled, count - start)]


class KMeans:
    """Lloyd's algorithm from K random points, one chunk of one iteration a call.

    Args:
        points: [N, C_T] in fp32.
        words: K ≤ N.
        generator: draws the first centroids and the seeds of empty clusters.
        chunk: points a call, at most; chunks of an iteration are of nearly equal size.

    Attributes:
        centroids: [K, C_T].
        inertia: Σ of squared distances to the nearest centroid, of the last complete iteration (before its update).
    """

    def __init__(self, points: Tensor, words: int, generator: torch.Generator, chunk: int = CHUNK):
        self.points, self.generator = points, generator
        self.chunks = chunks_of(len(points), chunk)
        self.size = math.ceil(len(points) / self.chunks)
        chosen = torch.randperm(len(points), generator=generator, device=points.device)[:words]
        self.centroids = points[chosen].clone()
        self.inertia = torch.full((), math.inf, device=points.device)
        self._clear()

    def step(self) -> None:
        """Assign the next chunk; where it is an iteration's last, move the centroids to the means of their points."""
        chunk = self.points[self._chunk * self.size : (self._chunk + 1) * self.size]
        # ‖v‖² − 2⟨f, v⟩ orders the words of a point as ‖v − f‖² does
        partial = torch.addmm(self.centroids.square().sum(dim=1), chunk, self.centroids.T, alpha=-2)
        nearest, word = partial.min(dim=1)
        self._sums.index_add_(0, word, chunk)
        self._counts.index_add_(0, word, torch.ones_like(nearest))
        self._inertia += (nearest + chunk.square().sum(dim=1)).clamp(min=0).sum()
        self._chunk += 1
        if self._chunk == self.chunks:
            self._update()

    def _update(self) -> None:
        # a word without points starts again at a random point, which can't raise the inertia; drawn for all words, so that nothing waits for the device
        seeds = self.points[torch.randint(len(self.points), (len(self.centroids),), generator=self.generator, device=self.points.device)]
        counts = self._counts.unsqueeze(1)
        self.centroids = torch.where(counts > 0, self._sums / counts.clamp(min=1), seeds)
        self.inertia = self._inertia
        self._clear()

    def _clear(self) -> None:
        self._chunk = 0
        self._sums = torch.zeros_like(self.centroids)
        self._counts = self.centroids.new_zeros(len(self.centroids))
        self._inertia = self.centroids.new_zeros(())


class Vocabulary(nn.Module):
    """The words V [K, C_T] as a buffer: no parameter, no moving average, never in an optimiser."""

    words: Tensor

    def __init__(self, words: Tensor):
        super().__init__()
        self.register_buffer("words", words.clone())


def chunks_of(points: int, chunk: int = CHUNK) -> int:
    """Steps of one iteration over so many points."""
    return math.ceil(points / chunk)


def squared_distances(f_t: Tensor, words: Tensor) -> Tensor:
    """d[p, k] = ‖v_k − f_T[p]‖² of points [P, C_T] to words [K, C_T]: [P, K] in fp32, never below zero."""
    f_t, words = f_t.float(), words.float()
    distances = f_t.square().sum(dim=1, keepdim=True) - 2 * f_t @ words.T + words.square().sum(dim=1)
    return distances.clamp(min=0)
