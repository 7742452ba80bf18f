"""What a metric is made of, sample by sample: counts whose sums give it, also where some samples are counted twice and others not at all."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Form = Literal["share", "iou", "f1", "matthews"]
"""How sums of counts become a metric, see :func:`metric_of`."""
Counts = NDArray[np.int64]
POSITIVE = 1
"""Class of which F1 is: acceptable, positive, a paraphrase, or (RTE) not entailed."""
_LEVEL = 6
"""Of the compression."""


@dataclass(frozen=True)
class Samples:
    """Counts of N samples.

    Attributes:
        form: how their sums become the metric.
        counts: ``share``: [N, 2], what is right and all of it. Else [N, 3, C]: of each class hits, labels and predictions.
    """

    form: Form
    counts: Counts


@dataclass(frozen=True)
class PackedSamples:
    """:class:`Samples` as plain values.

    Attributes:
        shape: of the counts.
        kind: numpy's name of the whole numbers.
        counts: their bytes, compressed, in base 64.
    """

    form: Form
    shape: tuple[int, ...]
    kind: str
    counts: str


def packed(samples: Samples) -> PackedSamples:
    """Counts as text, in the smallest whole numbers that hold them."""
    counts = samples.counts
    kind = np.promote_types(np.min_scalar_type(int(counts.min(initial=0))), np.min_scalar_type(int(counts.max(initial=0)))).newbyteorder("<")
    # one kind of count behind the other, which are alike
    ordered = np.ascontiguousarray(np.moveaxis(counts, 0, -1), dtype=kind)
    return PackedSamples(samples.form, counts.shape, kind.str, base64.b64encode(zlib.compress(ordered.tobytes(), _LEVEL)).decode("ascii"))


def unpacked(values: PackedSamples) -> Samples:
    """The inverse of :func:`packed`; raises ``ValueError`` where they are not what it gave."""
    try:
        flat = np.frombuffer(zlib.decompress(base64.b64decode(values.counts)), dtype=np.dtype(values.kind))
        ordered = flat.reshape(*values.shape[1:], values.shape[0])
    except (zlib.error, TypeError) as error:
        raise ValueError(f"counts of samples that can't be read: {error}") from error
    return Samples(values.form, np.moveaxis(ordered, -1, 0).astype(np.int64))


def shares(right: Any, every: Any) -> Samples:
    """Samples of which a part is right.

    Args:
        right, every: whole numbers [N], as of the pixels that are right and of those that count.
    """
    return Samples("share", np.stack([np.asarray(right, dtype=np.int64), np.asarray(every, dtype=np.int64)], axis=1))


def classified(metric: str, predicted: Any, targets: Any, classes: int) -> Samples | None:
    """Samples of one class each; None for a metric that is not made of them, and where not each has one label.

    Args:
        metric: ``top1``, ``accuracy``, ``f1`` or ``matthews``.
        predicted, targets: classes [N].
    """
    guess, truth = np.asarray(predicted), np.asarray(targets)
    if guess.shape != truth.shape or bool((truth < 0).any()):
        return None
    if metric in ("top1", "accuracy"):
        return shares(guess == truth, np.ones(len(truth), dtype=np.int64))
    if metric not in ("f1", "matthews"):
        return None
    names = np.arange(classes)
    labelled, predictions = truth[:, None] == names, guess[:, None] == names
    form: Form = "f1" if metric == "f1" else "matthews"
    return Samples(form, np.stack([labelled & predictions, labelled, predictions], axis=1).astype(np.int64))


def metric_of(form: Form, sums: NDArray[Any]) -> NDArray[np.float64]:
    """The metric in percent from sums over samples.

    ``share``: Σ right / Σ all. ``iou``: hits / (labels + predictions − hits), the mean over classes that are labelled or predicted. ``f1``: 2 hits /
    (labels + predictions) of the positive class, 0 where there is none. ``matthews``: the correlation of predicted and true classes (Gorodkin 2004),
    0 where either is constant.

    Args:
        sums: [..., 2] or [..., 3, C].

    Returns:
        [...].
    """
    sums = np.asarray(sums, dtype=np.float64)
    metric: NDArray[np.float64]
    with np.errstate(divide="ignore", invalid="ignore"):
        if form == "share":
            metric = sums[..., 0] / sums[..., 1]
            return 100 * metric
        hits, labels, predictions = sums[..., 0, :], sums[..., 1, :], sums[..., 2, :]
        if form == "iou":
            metric = np.nanmean(hits / (labels + predictions - hits), axis=-1)
        elif form == "f1":
            metric = np.nan_to_num(2 * hits[..., POSITIVE] / (labels[..., POSITIVE] + predictions[..., POSITIVE]), nan=0.0)
        else:
            every = labels.sum(axis=-1)
            covariance = hits.sum(axis=-1) * every - (labels * predictions).sum(axis=-1)
            spread = np.sqrt((every**2 - (labels**2).sum(axis=-1)) * (every**2 - (predictions**2).sum(axis=-1)))
            metric = np.where(spread > 0, covariance / spread, 0.0)
        return 100 * metric
