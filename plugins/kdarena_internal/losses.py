"""The two losses of a pair of layers; T teacher, S student."""

import torch
from torch import Tensor
from torch.nn import functional

SMALLEST = torch.finfo(torch.float32).tiny
"""Least probability in a logarithm: below it 0 · ln(0 / 0) would be no number, and its gradient none either."""


def attention_kl(a_t: Tensor, a_s: Tensor, tokens: Tensor | None, heads: str = "mean") -> Tensor:
    """L_kl over the real rows of a sample, then the mean over the batch.

    Args:
        a_t, a_s: attention probabilities [B, heads, L, L], rows i are queries; zero at keys that are padding.
        tokens: where queries are real [B, L]; None: all are.
        heads: ``"mean"`` or ``"sum"`` over them.

    Returns:
        a scalar in fp32, not negative.
    """
    a_t, a_s = a_t.float(), a_s.float()
    divergence = (a_t * (a_t.clamp(min=SMALLEST).log() - a_s.clamp(min=SMALLEST).log())).sum(dim=3)
    rows = divergence.mean(dim=1) if heads == "mean" else divergence.sum(dim=1)
    if tokens is None:
        return rows.mean()
    return (rows.where(tokens, 0.0).sum(dim=1) / tokens.sum(dim=1)).mean()


def hidden_cosine(h_t: Tensor, h_s: Tensor) -> Tensor:
    """L_cos, mean over the batch, from the states of one position [B, D]; a scalar in fp32, in [0, 2]."""
    return 1 - functional.cosine_similarity(h_t.float(), h_s.float(), dim=1).mean()
