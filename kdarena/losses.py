"""Reference losses that implementations often get wrong: a function each, its source in the docstring."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from kdarena.errors import NotApplicable


def check_alike(first: Tensor, second: Tensor) -> None:
    """Rows [P, C] of two networks have to be of one shape to be compared; raises :class:`kdarena.NotApplicable` where they aren't."""
    if first.shape != second.shape:
        shapes = " and ".join(f"{len(rows)} rows of {rows.shape[1]} scores" for rows in (first, second))
        raise NotApplicable(f"it compares row by row what student and teacher say, and they say {shapes} of the same batch; take a pair that agrees")


def kl(target_logits: Tensor, logits: Tensor, temperature: Tensor | float = 1.0, mask: Tensor | None = None) -> Tensor:
    """T² · KL(softmax(target/T) ‖ softmax(logits/T)), summed over classes, mean over rows (Hinton et al. 2015, arXiv 1503.02531).

    The target comes first, as in the formula. With T² in front the gradient on a row's logits is
    T · (softmax(logits/T) − softmax(target/T)) divided by the number of rows.

    Args:
        target_logits: [P, C], the teacher's; detach them where no gradient may reach the teacher.
        logits: [P, C], the student's.
        temperature: T > 0, a number or a 0-dimensional tensor.
        mask: [P]: booleans, where rows that don't count are left out of the mean, or each row's weight in it; None: all count alike.

    Returns:
        a scalar in fp32.

    Raises:
        NotApplicable: the two are not of one shape.
    """
    check_alike(logits, target_logits)
    log_target = functional.log_softmax(target_logits.float() / temperature, dim=1)
    log_probability = functional.log_softmax(logits.float() / temperature, dim=1)
    if mask is None:
        divergence = functional.kl_div(log_probability, log_target, reduction="batchmean", log_target=True)
    else:
        rows = functional.kl_div(log_probability, log_target, reduction="none", log_target=True).sum(dim=1)
        divergence = (rows * mask).sum() / mask.sum().clamp(min=1)
    return divergence * temperature**2


def soft_cross_entropy(target_probabilities: Tensor, logits: Tensor, mask: Tensor | None = None) -> Tensor:
    """−Σ_c p_c ln softmax(logits)_c, mean over rows; equals KL plus the target's entropy.

    Args:
        target_probabilities: [P, C], each row a distribution.
        logits: [P, C].
        mask: [P]: booleans, where rows that don't count are left out of the mean, or each row's weight in it.
    """
    rows = -(target_probabilities * functional.log_softmax(logits.float(), dim=1)).sum(dim=1)
    return rows.mean() if mask is None else (rows * mask).sum() / mask.sum().clamp(min=1)


def log_mean_probability(logits: Sequence[Tensor], dim: int) -> Tensor:
    """ln of the mean of several networks' probabilities, each a softmax of its logits along ``dim``: what an ensemble of them says.

    Args:
        logits: of each network, all of one shape.
        dim: the dimension of the classes.

    Returns:
        log-probabilities in the shape of the logits.
    """
    return torch.stack([each.log_softmax(dim=dim) for each in logits]).logsumexp(dim=0) - math.log(len(logits))


def corrupted(targets: Tensor, classes: int, probability: float, generator: torch.Generator, redraw_true: bool = False) -> Tensor:
    """Labels of which each is replaced with some probability by one drawn uniformly.

    Args:
        targets: [P], left as they are.
        classes: C.
        probability: that a label is drawn anew.
        generator: on the device of the targets.
        redraw_true: whether the true class may be drawn again, so that only a share (C - 1) / C of the drawn ones is wrong.

    Returns:
        new labels [P].
    """
    chosen = torch.rand(targets.shape, generator=generator, device=targets.device) < probability
    if redraw_true:
        drawn = torch.randint(classes, targets.shape, generator=generator, device=targets.device)
    else:
        drawn = (targets + torch.randint(1, classes, targets.shape, generator=generator, device=targets.device)) % classes
    return torch.where(chosen, drawn, targets)
