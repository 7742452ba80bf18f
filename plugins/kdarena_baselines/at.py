"""AT: attention transfer, the student looks where its teacher looks.

Zagoruyko, Komodakis: "Paying More Attention to Attention: Improving the Performance of Convolutional Neural Networks via
Attention Transfer", ICLR 2017, https://arxiv.org/abs/1612.03928

A^j: map of stage j [B, C, H, W]; I: pairs of stages of student and teacher.

    F(A) = 1/C Σ_c |A_c|^p                             attention map [B, H, W]
    Q = vec(F(A)),  Q̂ = Q / ‖Q‖₂
    L_AT = Σ_{j∈I} mean over samples and positions of (Q̂_S^j − Q̂_T^j)²      public code
    L_AT = ½ Σ_{j∈I} ‖ Q̂_S^j − Q̂_T^j ‖₂, mean over samples                   paper, equation 2
    L = CE(y, z_s) + β · L_AT

Where the grids of a pair differ, the larger map is average-pooled to the smaller grid before F.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch.nn import functional

from kdarena import Choice, Float, Int, Method, Paper, Params, hookimpl
from kdarena_baselines.stages import MOST, needs_feature_maps, pairs

if TYPE_CHECKING:
    from torch import Tensor

    from kdarena import Step, TaskCard


@dataclass(frozen=True)
class ATParams(Params):
    """Weight, power and reach of the attention term."""

    beta: float = Float(1000.0, 1.0, 10000.0, log=True, source="code", help="weight of L_AT; 1000 belongs to the squared form")
    p: int = Int(2, 1, 4, source="code", help="power of the activations in an attention map")
    stages: int = Int(MOST, 1, MOST, source="code", cost=True, help="pairs of stages at most, from the deepest on")
    distance: str = Choice("squared", ("squared", "norm"), source="code", help="mean of squares (code) or half the norm (paper)")


def at_same_grid(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps [B, C, H, W], each average-pooled to the smaller of both heights and widths."""
    grid = (min(one.shape[2], other.shape[2]), min(one.shape[3], other.shape[3]))
    return _pooled(one, grid), _pooled(other, grid)


def _pooled(A: Tensor, grid: tuple[int, int]) -> Tensor:  # noqa: N803 - the paper's symbol
    return A if tuple(A.shape[2:]) == grid else functional.adaptive_avg_pool2d(A, grid)


def q_hat(A: Tensor, p: int) -> Tensor:  # noqa: N803
    """Q̂ [B, H · W] of a map [B, C, H, W]."""
    return functional.normalize(A.abs().pow(p).mean(dim=1).flatten(1), dim=1)


def l_at(A_s: Tensor, A_t: Tensor, p: int, distance: str) -> Tensor:  # noqa: N803
    """One stage's part of L_AT."""
    A_s, A_t = at_same_grid(A_s, A_t)  # noqa: N806
    difference = q_hat(A_s, p) - q_hat(A_t, p)
    return (difference**2).mean() if distance == "squared" else torch.linalg.vector_norm(difference, dim=1).mean() / 2


def applies(card: TaskCard, params: ATParams) -> str | None:
    """Why it can't run on a task, or None."""
    if params.stages < 1 or params.p < 1:
        return f"stages={params.stages}, p={params.p}: it needs at least one pair of stages and a power of at least 1"
    return needs_feature_maps(card, params)


class AT:
    """The student's attention maps match the teacher's."""

    method = Method(
        name="at",
        title="attention transfer: normalised maps of squared activations at each stage",
        paper=Paper("Paying More Attention to Attention", "ICLR", 2017, "https://arxiv.org/abs/1612.03928"),
        equations="L = CE(y, z_s) + beta sum_j mean (Q_S^j / ||Q_S^j||_2 - Q_T^j / ||Q_T^j||_2)^2, Q = vec(mean_c |A_c|^p)",
        Params=ATParams,
        applies=applies,
    )

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """CE and β · L_AT, a term for each pair of stages."""
        params = cast(ATParams, step.params)
        ours, theirs = step.student.features, step.teacher.features
        terms = {"ce": step.task.loss(step.student, step.targets)}
        for stage, teacher_stage in pairs(ours, theirs, params.stages):
            terms[f"at-{stage}"] = params.beta * l_at(ours[stage], theirs[teacher_stage], params.p, params.distance)
        return terms
