"""SP: similarity-preserving distillation, samples that are alike for the teacher are alike for the student.

Tung, Mori: "Similarity-Preserving Knowledge Distillation", ICCV 2019, https://arxiv.org/abs/1907.09682

A^l: map of stage l [b, C, H, W], b the batch; I: pairs of stages of student and teacher, whose shapes need not agree.

    Q = reshape(A, [b, C · H · W]),  G̃ = Q Qᵀ [b, b],  G_[i,:] = G̃_[i,:] / ‖ G̃_[i,:] ‖₂
    L_SP = 1/b² Σ_{(l,l')∈I} ‖ G_T^l − G_S^l' ‖_F²
    L = CE(y, z_s) + γ · L_SP
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from torch.nn import functional

from kdarena import Float, Int, Method, Paper, Params, hookimpl
from kdarena_baselines.stages import MOST, needs_feature_maps, pairs

if TYPE_CHECKING:
    from torch import Tensor

    from kdarena import Step, TaskCard


@dataclass(frozen=True)
class SPParams(Params):
    """Weight and reach of the similarity term."""

    gamma: float = Float(3000.0, 10.0, 30000.0, log=True, source="code", help="weight of L_SP")
    stages: int = Int(1, 1, MOST, source="code", cost=True, help="pairs of stages at most, from the deepest on")


def similarity(A: Tensor) -> Tensor:  # noqa: N803 - the paper's symbol
    """G [b, b] of a map [b, C, H, W]."""
    Q = A.flatten(1)  # noqa: N806
    return functional.normalize(Q @ Q.T, dim=1)


def l_sp(A_s: Tensor, A_t: Tensor) -> Tensor:  # noqa: N803
    """One pair's part of L_SP: the mean over the b² entries is the squared Frobenius norm divided by b²."""
    return ((similarity(A_t) - similarity(A_s)) ** 2).mean()


def applies(card: TaskCard, params: SPParams) -> str | None:
    """Why it can't run on a task, or None."""
    if params.stages < 1:
        return f"stages={params.stages}: it needs at least one pair of stages"
    return needs_feature_maps(card, params)


class SP:
    """The similarities of a batch's samples under the student match those under the teacher."""

    method = Method(
        name="sp",
        title="similarity-preserving distillation of a batch's similarity matrix",
        paper=Paper("Similarity-Preserving Knowledge Distillation", "ICCV", 2019, "https://arxiv.org/abs/1907.09682"),
        equations="L = CE(y, z_s) + gamma / b^2 sum || G_T - G_S ||_F^2, G the row-normalised Q Q^T",
        Params=SPParams,
        applies=applies,
    )

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """CE and γ · L_SP, a term for each pair of stages."""
        params = cast(SPParams, step.params)
        ours, theirs = step.student.features, step.teacher.features
        terms = {"ce": step.task.loss(step.student, step.targets)}
        for stage, teacher_stage in pairs(ours, theirs, params.stages):
            terms[f"sp-{stage}"] = params.gamma * l_sp(ours[stage], theirs[teacher_stage])
        return terms
