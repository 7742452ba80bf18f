"""The holistic loss: score maps of the student that a critic can't tell from the teacher's, given the image (symbols: ``method.py``)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional


def l_ho(d_s: Tensor, d_t: Tensor) -> Tensor:
    """ℓ_ho of D(Q^s | I) and D(Q^t | I), each [B]."""
    return d_s.mean() - d_t.mean()


def hinge(d_s: Tensor, d_t: Tensor) -> Tensor:
    """The critic's hinge loss of D(Q^s | I) and D(Q^t | I), each [B]."""
    return functional.relu(1 - d_t).mean() + functional.relu(1 + d_s).mean()


def gradient_penalty(critic: Callable[[Tensor], Tensor], q_s: Tensor, q_t: Tensor, u: Tensor) -> Tensor:
    """The penalty, differentiable in the critic's parameters.

    Args:
        critic: x̂ [B, C, h, w] to D [B].
        q_s, q_t: [B, C, h, w]; no gradient reaches them.
        u: [B], in [0, 1): the teacher's part of x̂.
    """
    u = u.view(-1, 1, 1, 1)
    x_hat = (u * q_t.detach() + (1 - u) * q_s.detach()).requires_grad_()
    # a view, since hooks on modules (the counter of operations) can't watch a leaf that autograd.grad is asked for
    (gradient,) = torch.autograd.grad(critic(x_hat.view_as(x_hat)).sum(), x_hat, create_graph=True)
    length: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    return (length - 1).square().mean()


def seen_scores(logits: Tensor, scores: str) -> Tensor:
    """Q [B, C, h, w] as the critic sees it: ``logits`` or ``softmax``."""
    return logits.softmax(dim=1) if scores == "softmax" else logits


def whole(maps: Sequence[Tensor]) -> Tensor:
    """Q of score maps [B, C, h_k, w_k], fine to coarse: all at the size of the first, one behind the other [B, Σ C, h_1, w_1]."""
    first, *coarser = maps
    size = (first.shape[2], first.shape[3])
    # each place repeated over its area: on a GPU the gradient of a bilinear map depends on the order of additions, that of this one does not
    return torch.cat([first, *(functional.interpolate(level, size) for level in coarser)], dim=1) if coarser else first


def scaled(image: Tensor, size: tuple[int, int]) -> Tensor:
    """I [B, 3, H, W] scaled to the score map's h × w, corners on corners."""
    return functional.interpolate(image, size, mode="bilinear", align_corners=True)
