"""DKD: decoupled knowledge distillation, the target class and the others weighted apart.

Zhao, Cui, Song, Qiu, Liang: "Decoupled Knowledge Distillation", CVPR 2022, https://arxiv.org/abs/2203.08679

z_s, z_t: logits of student and teacher [P, C]; t: the label's class; p = softmax(z / T).

    b = [p_t, 1 − p_t]                        the target against all others
    p̂_c = p_c / (1 − p_t), c ≠ t              the others among themselves
    TCKD = KL(b^T ‖ b^S),  NCKD = KL(p̂^T ‖ p̂^S)
    L_DKD = T² · (α · TCKD + β · NCKD), mean over P
    L = CE(y, z_s) + w(t) · L_DKD

KD is α = 1 and β = 1 − p_t^T of each sample: KL(p^T ‖ p^S) = TCKD + (1 − p_t^T) · NCKD. w(t) = min(1, progress / warmup).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from kdarena import Float, Method, Paper, Params, Step, Terms, hookimpl, schedules


@dataclass(frozen=True)
class DKDParams(Params):
    """Weights of the two parts, temperature, warm-up."""

    alpha: float = Float(1.0, 0.1, 10.0, least=0, log=True, source="code", help="weight of TCKD")
    beta: float = Float(8.0, 0.1, 20.0, least=0, log=True, source="code", help="weight of NCKD; 8 is that of resnet32x4 to resnet8x4")
    temperature: float = Float(4.0, 1.0, 20.0, above=0, log=True, source="code", help="T, softens both distributions")
    warmup: float = Float(20 / 240, 0.0, 0.5, least=0, most=1, source="code", help="share of the training over which the weight rises from 0")


method = Method(
    "dkd",
    "decoupled distillation of target and non-target classes",
    Paper("Decoupled Knowledge Distillation", "CVPR", 2022, "https://arxiv.org/abs/2203.08679"),
    Params=DKDParams,
    applies=lambda card, params: None if card.classes > 2 else f"it distils the classes other than the target, and the task has only {card.classes} classes",
)


def tckd_nckd(z_s: Tensor, z_t: Tensor, y: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """TCKD and NCKD of each row [P], without T². Logarithms of sums: nothing underflows for a confident teacher."""
    target = y[:, None] == torch.arange(z_s.shape[1], device=y.device)

    def decoupled(z: Tensor) -> tuple[Tensor, Tensor]:  # ln b [P, 2], ln p̂ [P, C]
        softened = z.float() / temperature
        total, others = softened.logsumexp(dim=1), softened.masked_fill(target, -torch.inf).logsumexp(dim=1)
        return torch.stack([softened.gather(1, y[:, None]).squeeze(1) - total, others - total], dim=1), softened - others[:, None]

    (log_b_t, log_p_t), (log_b_s, log_p_s) = decoupled(z_t), decoupled(z_s)
    tckd = (log_b_t.exp() * (log_b_t - log_b_s)).sum(dim=1)
    # ln p̂ means nothing at the target: masked before the exponential, where it could overflow
    return tckd, (log_p_t.masked_fill(target, -torch.inf).exp() * (log_p_t - log_p_s)).sum(dim=1)


@hookimpl
def loss(step: Step, params: DKDParams) -> Terms:
    """CE, and both parts, whose weights warm up."""
    (z_s, _), (z_t, _) = step.task.rows(step.student), step.task.rows(step.teacher)
    tckd, nckd = tckd_nckd(z_s, z_t, step.task.row_targets(step.student, step.targets), params.temperature)
    weight = params.temperature**2 * schedules.linear(step.progress, 0.0, 1.0, length=params.warmup)
    return {"ce": step.task.loss(step.student, step.targets), "tckd": weight * params.alpha * tckd.mean(), "nckd": weight * params.beta * nckd.mean()}
