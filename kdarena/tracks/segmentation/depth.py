"""The depth task: the distance of each pixel of an image."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from kdarena.tracks.evaluation import Measured
from kdarena.tracks.segmentation.dense import DenseTask
from kdarena.tracks.segmentation.metrics import DistanceErrors
from kdarena.tracks.values import Outputs, Part, Split

BERHU_SHARE = 0.2
"""Of the largest error of a batch: where the loss turns from linear to quadratic."""
MEASURED_IMAGES = 32
"""Training images whose mean distance networks start from."""


class DepthTask(DenseTask):
    """Distances in metres, not a number where a pixel is unknown; see :class:`DenseTask`. The score map is one channel of metres."""

    unknown = float("nan")

    def new_network(self, architecture: str, *, dropout: float = 0.0) -> nn.Module:
        """See :meth:`Task.new_network`; it starts from a mean distance, not from zero."""
        network = super().new_network(architecture, dropout=dropout)
        with torch.no_grad():
            for path in network.score_layers:  # type: ignore[union-attr]
                network.get_submodule(path).bias.fill_(self._mean_distance)  # type: ignore[operator, union-attr]
        return network

    @functools.cached_property
    def _mean_distance(self) -> float:
        """Of the first training images, which are the same for every seed."""
        _, distances = self._sources["train"].take(torch.arange(min(MEASURED_IMAGES, len(self.data.train))))
        return float(distances.nanmean())

    def pixel_loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """The reverse Huber loss of depth networks (Laina et al. 2016, arXiv 1606.00373, equation 1).

        With the error e = d − d* and c a fifth of the largest |e| of the batch: |e| where |e| ≤ c, else (e² + c²) / 2c.
        """
        known = ~targets.isnan()
        # masked before the difference, since a gradient through a number that is none would be none
        error = (scores[:, 0] - targets.nan_to_num()).abs() * known
        c = (BERHU_SHARE * error.detach().max()).clamp(min=torch.finfo(error.dtype).tiny)
        loss = torch.where(error <= c, error, (error.square() + c.square()) / (2 * c))
        return (loss * known).sum() / known.sum().clamp(min=1)

    def rows(self, outputs: Outputs) -> tuple[Tensor, None]:
        """Raises ``ValueError``: distances are no scores of classes."""
        raise ValueError(f"task {self.card.name} predicts distances and no scores of classes")

    def row_targets(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """Raises ``ValueError``: distances are no classes."""
        raise ValueError(f"task {self.card.name} has distances and no labels")

    def together(self, members: list[Outputs]) -> Outputs:
        """An ensemble's outputs: the mean distance, each member's as an exit."""
        mean = torch.stack([member.logits for member in members]).mean(dim=0)
        return Outputs(mean, exits=tuple(member.logits for member in members))

    def measured(self, network: nn.Module, part: Part, split: Split, reference: nn.Module | None = None, *, teacher_inputs: bool = False) -> Measured:
        """See :meth:`Task.measured`: ``absrel``, ``rmse`` and ``delta1`` at the size of the targets; with a reference teacher
        ``teacher_rmse``, the distance from its predictions over pixels with a known distance.

        Raises:
            ValueError: the part is empty.
        """
        errors, distance = DistanceErrors(), DistanceErrors()
        for scores, targets, theirs in self.scored(network, part, split, reference):
            errors.add(scores[:, 0], targets)
            if theirs is not None:
                distance.add(scores[:, 0], theirs[:, 0].masked_fill(targets.isnan(), float("nan")))
        own = errors.metrics()
        return Measured(own if reference is None else {**own, "teacher_rmse": distance.metrics()["rmse"]}, errors.samples())

    def detection(self, network: nn.Module, part: Part, split: Split, scores: object = None) -> dict[str, float]:
        """None: a distance has no uncertainty."""
        return {}
