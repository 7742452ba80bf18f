"""Metrics of a classifier from its logits on a whole part: pure functions, each with its source."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from kdarena.losses import kl

CALIBRATION_BINS = 15


def top(logits: Tensor, targets: Tensor, k: int) -> float:
    """Percentage of rows whose target is among the k largest logits.

    Args:
        logits: [P, C]; with fewer than k classes every row counts.
        targets: [P].
    """
    best = logits.topk(min(k, logits.shape[1]), dim=1).indices
    return 100 * float((best == targets[:, None]).any(dim=1).double().mean())


def balanced_accuracy(logits: Tensor, targets: Tensor) -> float:
    """Mean over the classes that rows have of the percentage of a class's rows that are right, so that a small class counts as much as a large one.

    Args:
        logits: [P, C].
        targets: [P].
    """
    rows = targets.bincount(minlength=logits.shape[1]).double()
    right = targets[logits.argmax(dim=1) == targets].bincount(minlength=logits.shape[1]).double()
    return 100 * float((right[rows > 0] / rows[rows > 0]).mean())


def negative_log_likelihood(logits: Tensor, targets: Tensor) -> float:
    """Mean of −ln softmax(logits)[target], in nats."""
    return float(functional.cross_entropy(logits.double(), targets))


def calibration_error(logits: Tensor, targets: Tensor, bins: int = CALIBRATION_BINS) -> float:
    """Expected calibration error in percent (Guo et al. 2017, arXiv 1706.04599, equation 3).

    Rows are sorted by confidence, the largest probability, into ``bins`` equal intervals that are open on the left; the
    error is the mean over rows of |accuracy − mean confidence| of a row's bin.
    """
    confidence, predicted = functional.softmax(logits.double(), dim=1).max(dim=1)
    correct = (predicted == targets).double()
    bin_of = (confidence * bins).ceil().long().clamp(1, bins) - 1
    # the sum over a bin of (correct - confidence) is its size times its gap
    gaps = confidence.new_zeros(bins).index_add_(0, bin_of, correct - confidence)
    return 100 * float(gaps.abs().sum()) / len(targets)


def agreement(logits: Tensor, reference: Tensor) -> float:
    """Percentage of rows for which two classifiers [P, C] name the same class."""
    return 100 * float((logits.argmax(dim=1) == reference.argmax(dim=1)).double().mean())


def divergence(logits: Tensor, reference: Tensor) -> float:
    """KL(reference ‖ classifier) at temperature 1, mean over rows, in nats."""
    return float(kl(reference, logits))


def teacher_metrics(logits: Tensor, reference: Tensor | None) -> dict[str, float]:
    """``agreement`` and ``teacher_kl`` with a reference teacher's logits; nothing without one."""
    return {} if reference is None else {"agreement": agreement(logits, reference), "teacher_kl": divergence(logits, reference)}


def all_metrics(logits: Tensor, targets: Tensor, reference: Tensor | None = None) -> dict[str, float]:
    """``top1``, ``top5``, ``nll`` and ``ece``; with a reference teacher's logits also ``agreement`` and ``teacher_kl``."""
    return {
        "top1": top(logits, targets, 1),
        "top5": top(logits, targets, 5),
        "nll": negative_log_likelihood(logits, targets),
        "ece": calibration_error(logits, targets),
        **teacher_metrics(logits, reference),
    }
