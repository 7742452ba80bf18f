"""Metrics of dense prediction, accumulated batch by batch: a confusion matrix, sums of errors of distances, sums over pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from kdarena.tracks.samples import Samples

SMALLEST_DISTANCE = 1e-3
"""In metres: what predictions are raised to before they are divided by, as public evaluations do (Lee et al. 2019, arXiv 1907.10326).

They also cut predictions at the data set's largest distance; here an overshoot counts as what it is."""


class Confusion:
    """How many pixels of each class were predicted as each class.

    Args:
        classes: their names.
        ignored: the label that doesn't count.
    """

    def __init__(self, classes: Sequence[str], ignored: int):
        self._classes, self._ignored = tuple(classes), ignored
        self.counts = torch.zeros(len(self._classes), len(self._classes), dtype=torch.long)
        self._images: list[Tensor] = []

    def add(self, predicted: Tensor, targets: Tensor) -> None:
        """Count pixels: predicted classes and labels of B images, of one shape [B, …]."""
        images, classes = len(targets), len(self._classes)
        pairs = (targets * classes + predicted).reshape(images, -1) + torch.arange(images, device=targets.device)[:, None] * classes**2
        counted = (targets != self._ignored).reshape(images, -1)
        counts = torch.bincount(pairs[counted], minlength=images * classes**2).view(images, classes, classes).cpu()
        self._images.append(torch.stack([counts.diagonal(dim1=1, dim2=2), counts.sum(dim=2), counts.sum(dim=1)], dim=1))
        self.counts += counts.sum(dim=0)

    def samples(self) -> Samples:
        """Of each image the hits, labels and predictions of every class."""
        return Samples("iou", torch.cat(self._images).numpy())

    def metrics(self) -> dict[str, float]:
        """``miou``, ``pixel_accuracy`` and ``iou/CLASS`` in percent.

        IoU_c = hits / (labels + predictions − hits). A class that is neither labelled nor predicted has no IoU, and the mean is
        over the others.
        """
        counts = self.counts.double()
        hits = counts.diagonal()
        union = counts.sum(dim=0) + counts.sum(dim=1) - hits
        present = union > 0
        iou = 100 * hits[present] / union[present]
        names = [name for name, there in zip(self._classes, present.tolist(), strict=True) if there]
        return {
            "miou": float(iou.mean()),
            "pixel_accuracy": 100 * float(hits.sum() / counts.sum()),
            **{f"iou/{name}": value for name, value in zip(names, iou.tolist(), strict=True)},
        }


class TeacherDistance:
    """How far a network's pixels are from a reference teacher's: ``agreement`` in percent, and ``teacher_kl`` in nats."""

    def __init__(self) -> None:
        self._agreeing, self._divergence, self._pixels = 0, 0.0, 0

    def add(self, scores: Tensor, reference: Tensor, counted: Tensor) -> None:
        """Add pixels: scores and the reference's [B, C, H, W], and which count [B, H, W]."""
        log_target, log_probability = (functional.log_softmax(each.float(), dim=1) for each in (reference, scores))
        divergence = (log_target.exp() * (log_target - log_probability)).sum(dim=1)
        agreeing = scores.argmax(dim=1) == reference.argmax(dim=1)
        self._divergence += float(divergence[counted].double().sum())
        self._agreeing += int((agreeing & counted).sum())
        self._pixels += int(counted.sum())

    def metrics(self) -> dict[str, float]:
        """Means over all pixels."""
        return {"agreement": 100 * self._agreeing / self._pixels, "teacher_kl": self._divergence / self._pixels}


class DistanceErrors:
    """Errors of predicted distances, over all pixels whose distance is known (Eigen et al. 2014, arXiv 1406.2283)."""

    def __init__(self) -> None:
        self._relative, self._squared, self._close, self._pixels = 0.0, 0.0, 0, 0
        self._images: list[Tensor] = []

    def add(self, predicted: Tensor, targets: Tensor) -> None:
        """Add pixels: distances of B images in metres, of one shape [B, …]; targets that are not numbers don't count."""
        known = ~targets.isnan()
        truth, guess = targets[known].double(), predicted[known].double().clamp(min=SMALLEST_DISTANCE)
        error = guess - truth
        self._relative += float((error.abs() / truth).sum())
        self._squared += float(error.square().sum())
        close = torch.zeros_like(known).masked_scatter(known, torch.maximum(guess / truth, truth / guess) < 1.25)
        self._images.append(torch.stack([each.reshape(len(each), -1).sum(dim=1) for each in (close, known)], dim=1).cpu())
        self._close += int(self._images[-1][:, 0].sum())
        self._pixels += len(truth)

    def samples(self) -> Samples:
        """Of each image the pixels that are right by ``delta1``, and those with a known distance."""
        return Samples("share", torch.cat(self._images).numpy())

    def metrics(self) -> dict[str, float]:
        """``absrel`` = mean |d − d*| / d*, ``rmse`` in metres, ``delta1`` = percentage with max(d / d*, d* / d) < 1.25."""
        return {
            "absrel": self._relative / self._pixels,
            "rmse": (self._squared / self._pixels) ** 0.5,
            "delta1": 100 * self._close / self._pixels,
        }
