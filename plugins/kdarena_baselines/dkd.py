"""DKD: decoupled knowledge distillation, the target class and the others weighted apart.

Zhao, Cui, Song, Qiu, Liang: "Decoupled Knowledge Distillation", CVPR 2022, https://arxiv.org/abs/2203.08679

z_s, z_t: logits of student and teacher [P, C]; t: the label's class; p = softmax(z / T).

    b = [p_t, 1 − p_t]                        the target against all others
    p̂_c = p_c / (1 − p_t), c ≠ t              the others among themselves
    TCKD = KL(b^T ‖ b^S),  NCKD = KL(p̂^T ‖ p̂^S)
    L_DKD = T² · (α · TCKD + β · NCKD), mean over P
    L = CE(y, z_s) + w(t) · L_DKD

KD is α = 1 and β = 1 − p_t^T of each sample: KL(p^T ‖ p^S) = TCKD + (1 − p_t^T) · NCKD. w(t): a linear warm-up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch.nn import functional

from kdarena import Float, Method, Paper, Params, hookimpl, losses
from kdarena_baselines.warmup import warmup_factor

if TYPE_CHECKING:
    from torch import Tensor

    from kdarena import Step, TaskCard


@dataclass(frozen=True)
class DKDParams(Params):
    """Weights of the two parts, temperature, warm-up."""

    alpha: float = Float(1.0, 0.1, 10.0, log=True, source="code", help="weight of TCKD")
    beta: float = Float(8.0, 0.1, 20.0, log=True, source="code", help="weight of NCKD; 8 is that of resnet32x4 to resnet8x4")
    temperature: float = Float(4.0, 1.0, 20.0, log=True, source="code", help="T, softens both distributions")
    warmup: float = Float(20 / 240, 0.0, 0.5, source="code", help="share of the training over which the weight rises from 0")


def decoupled(z: Tensor, y: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """ln b [P, 2], ln p̂ [P, C], and the mask [P, C] of the target, at which ln p̂ means nothing.

    Logarithms of sums instead of sums of probabilities: nothing underflows for a confident teacher.
    """
    softened = z.float() / temperature
    target = functional.one_hot(y, z.shape[1]).bool()
    total = torch.logsumexp(softened, dim=1)
    others = torch.logsumexp(softened.masked_fill(target, -torch.inf), dim=1)
    log_b = torch.stack([softened.gather(1, y[:, None]).squeeze(1) - total, others - total], dim=1)
    return log_b, softened - others[:, None], target


def tckd_nckd(z_s: Tensor, z_t: Tensor, y: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """TCKD and NCKD of each row [P], without T²."""
    log_b_t, log_others_t, target = decoupled(z_t, y, temperature)
    log_b_s, log_others_s, _ = decoupled(z_s, y, temperature)
    tckd = (log_b_t.exp() * (log_b_t - log_b_s)).sum(dim=1)
    # the target is masked before the exponential, where it could overflow
    p_others_t = log_others_t.masked_fill(target, -torch.inf).exp()
    nckd = (p_others_t * (log_others_t - log_others_s)).sum(dim=1)
    return tckd, nckd


def applies(card: TaskCard, params: DKDParams) -> str | None:
    """Why it can't run on a task with these parameters, or None."""
    if reason := losses.refuse_temperature(params.temperature):
        return reason
    return None if card.classes > 2 else f"it distils the classes beside the target, of which {card.classes} classes leave {card.classes - 1}"


class DKD:
    """Target and non-target parts of the divergence from the teacher, each with a weight of its own."""

    method = Method(
        name="dkd",
        title="decoupled distillation of target and non-target classes",
        paper=Paper("Decoupled Knowledge Distillation", "CVPR", 2022, "https://arxiv.org/abs/2203.08679"),
        equations="L = CE(y, z_s) + w(t) T^2 (alpha KL(b^T || b^S) + beta KL(phat^T || phat^S))",
        Params=DKDParams,
        applies=applies,
    )

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """CE, and both parts, whose weights warm up."""
        params = cast(DKDParams, step.params)
        # samples, of which all count
        z_s, _ = step.task.rows(step.student)
        z_t, _ = step.task.rows(step.teacher)
        y = step.task.row_targets(step.student, step.targets)
        tckd, nckd = (rows.mean() for rows in tckd_nckd(z_s, z_t, y, params.temperature))
        factor = params.temperature**2 * warmup_factor(step.progress, params.warmup)
        return {"ce": step.task.loss(step.student, step.targets), "tckd": factor * params.alpha * tckd, "nckd": factor * params.beta * nckd}
