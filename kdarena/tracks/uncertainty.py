"""Detection of errors and of foreign inputs from uncertainty scores: pure functions of CPU tensors, each with its source.

A score [P] is higher where a network is less sure. Misclassification: does it sort errors before correct answers? Out of
distribution: is it higher on a foreign set than on the task's own?
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def prediction_rejection_ratio(uncertainty: Tensor, correct: Tensor) -> float:
    """PRR in percent (Malinin, Mlodozeniec, Gales 2020, arXiv 1905.00076; defined in Malinin's thesis, 2019).

    The most uncertain share ρ of P samples is handed to an oracle; E(ρ) = errors that remain / P, linear between whole
    samples. With A = ∫₀¹ E dρ and the error e = E(0)

        PRR = (A_random − A_uncertainty) / (A_random − A_oracle),   A_random = e / 2,   A_oracle = e² / 2

    100: all errors are the most uncertain; 0: no better than chance; −100: they are the most certain. Samples of equal
    score are handed over in random order, in expectation.

    Args:
        uncertainty: [P].
        correct: [P] of booleans.

    Returns:
        nan where no sample or every sample is wrong, since then no order is better than another.
    """
    samples = len(correct)
    error = 1 - float(correct.double().mean())
    if error in (0, 1):
        return float("nan")
    wrong, sizes = _by_score(uncertainty, ~correct.bool())
    # E falls linearly within a group of ties, so that its trapezium is exact
    left = wrong.sum() - torch.cat([wrong.new_zeros(1), wrong.cumsum(0)])
    area = float(((left[:-1] + left[1:]) / 2 * sizes).sum()) / samples**2
    return 100 * (error / 2 - area) / (error / 2 - error**2 / 2)


def auroc(scores: Tensor, positive: Tensor) -> float:
    """Area under the receiver operating characteristic in percent (Hanley, McNeil 1982, Radiology 143).

    It is the probability that a positive scores higher than a negative, equal scores counting half.

    Args:
        scores: [P].
        positive: [P] of booleans.

    Returns:
        nan where there are no positives or no negatives.
    """
    if not bool(positive.any()) or bool(positive.all()):
        return float("nan")
    from sklearn.metrics import roc_auc_score

    return 100 * float(roc_auc_score(positive.numpy(), _ranks(scores)))


def aupr(scores: Tensor, positive: Tensor) -> float:
    """Average precision in percent: Σ_k (recall_k − recall_{k−1}) · precision_k over thresholds k from the highest score down.

    The step-wise area under the curve of precision and recall, without the interpolation that makes it too large (Davis,
    Goadrich 2006, ICML). Equal scores are one threshold.

    Args:
        scores: [P].
        positive: [P] of booleans.

    Returns:
        nan where there are no positives.
    """
    if not bool(positive.any()):
        return float("nan")
    from sklearn.metrics import average_precision_score

    return 100 * float(average_precision_score(positive.numpy(), _ranks(scores)))


def softmax_scores(logits: Tensor) -> dict[str, Tensor]:
    """The default scores of a softmax [P]: ``entropy`` in nats, and ``confidence``, 1 − the largest probability.

    (Hendrycks, Gimpel 2017, arXiv 1610.02136, for the latter.)
    """
    log_probability = functional.log_softmax(logits.double(), dim=1)
    probability = log_probability.exp()
    entropy = torch.special.entr(probability).sum(dim=1)
    # the sum of the others keeps its digits where 1 - max would cancel
    largest = probability.argmax(dim=1, keepdim=True)
    return {"entropy": entropy, "confidence": probability.scatter(1, largest, 0.0).sum(dim=1)}


def detection_metrics(scores: Mapping[str, Tensor], correct: Tensor, outlier_scores: Mapping[str, Mapping[str, Tensor]]) -> dict[str, float]:
    """All metrics of all scores: ``prr/SCORE``, and for each foreign set ``auroc/SET/SCORE`` and ``aupr/SET/SCORE``.

    Args:
        scores: [P] by name, on the part that is scored.
        correct: [P] of booleans.
        outlier_scores: by set, the same scores on its samples, which are the positives.
    """
    every = {f"prr/{name}": prediction_rejection_ratio(score, correct) for name, score in scores.items()}
    for outliers, foreign in outlier_scores.items():
        if foreign.keys() != scores.keys():
            raise ValueError(f"scores on {outliers} are {', '.join(foreign) or 'none'}, those on the task {', '.join(scores) or 'none'}")
        for name, score in scores.items():
            both = torch.cat([score.double(), foreign[name].double()])
            positive = torch.arange(len(both)) >= len(score)
            every[f"auroc/{outliers}/{name}"] = auroc(both, positive)
            every[f"aupr/{outliers}/{name}"] = aupr(both, positive)
    return every


def _ranks(scores: Tensor) -> np.ndarray:
    """The rank of each score among the distinct ones [P], which sorts alike and is finite where a score is infinite.

    Raises:
        ValueError: a score is not a number.
    """
    if bool(scores.isnan().any()):
        raise ValueError("a score is not a number")
    ranks: np.ndarray = scores.unique(return_inverse=True)[1].numpy()
    return ranks


def _by_score(scores: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """For each distinct score from the highest down: how many samples of it are positive, and how many there are."""
    ranks = torch.from_numpy(_ranks(scores))
    sizes = torch.bincount(ranks).double()
    hits = torch.zeros_like(sizes).index_add_(0, ranks, positive.double())
    return hits.flip(0), sizes.flip(0)
