"""Metrics of a recogniser: pure functions, each with its source."""

from __future__ import annotations

from collections.abc import Sequence

import jiwer
from torch import Tensor
from torch.nn import functional

from kdarena.losses import kl


def word_error_rate(transcripts: Sequence[str], recognised: Sequence[str]) -> float:
    """Percentage of substituted, deleted and inserted words among the words that were said, over all utterances together; may exceed 100."""
    return 100 * float(jiwer.wer(list(transcripts), list(recognised)))


def token_accuracy(logits: Tensor, targets: Tensor) -> float:
    """Percentage of tokens [P], each behind the true ones, whose largest logit [P, C] is the target's."""
    return 100 * float((logits.argmax(dim=1) == targets).double().mean())


def negative_log_likelihood(logits: Tensor, targets: Tensor) -> float:
    """Mean over tokens of −ln softmax(logits)[target], in nats."""
    return float(functional.cross_entropy(logits.double(), targets))


def agreement(logits: Tensor, reference: Tensor) -> float:
    """Percentage of tokens for which two networks [P, C] name the same one, both behind the true ones."""
    return 100 * float((logits.argmax(dim=1) == reference.argmax(dim=1)).double().mean())


def divergence(logits: Tensor, reference: Tensor) -> float:
    """KL(reference ‖ network) at temperature 1, mean over tokens, in nats."""
    return float(kl(reference, logits))


def token_metrics(logits: Tensor, targets: Tensor, reference: Tensor | None = None) -> dict[str, float]:
    """``token_accuracy`` and ``nll`` of tokens behind the true ones; with a reference teacher's logits also ``agreement`` and ``teacher_kl``."""
    found = {"token_accuracy": token_accuracy(logits, targets), "nll": negative_log_likelihood(logits, targets)}
    if reference is not None:
        found["agreement"] = agreement(logits, reference)
        found["teacher_kl"] = divergence(logits, reference)
    return found
