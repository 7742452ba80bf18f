"""KD from an ensemble: the target is the mean of N teachers' softened probabilities. The control for every method with N teachers.

Hinton, Vinyals, Dean: "Distilling the Knowledge in a Neural Network", 2015, https://arxiv.org/abs/1503.02531 (section 3
distils an ensemble; the arithmetic mean of its members' predictions is one of the two means that section 1 names).

z_n: logits of teacher n [P, C].

    p̄ = 1/N Σ_n softmax(z_n / T)
    L = (1 − a) · CE(y, z_s) + a · T² · KL(p̄ ‖ softmax(z_s / T))
"""

from dataclasses import dataclass

import torch

from kdarena import ROWS, Int, Method, Step, Terms, hookimpl, losses, teacher_pool
from kdarena_kd import kd


@dataclass(frozen=True)
class KDEnsembleParams(kd.KDParams):
    """As for one teacher, and how many there are."""

    teachers: int = Int(3, 1, 5, least=1, source="ours", cost=True, help="N, teachers trained from different seeds")


method = Method(
    "kd-ensemble",
    "knowledge distillation from the mean of N teachers' softened probabilities",
    kd.PAPER,
    extended=ROWS,
    Params=KDEnsembleParams,
    teachers=lambda card, params: teacher_pool(params.teachers, "teacher"),
)


@hookimpl
def loss(step: Step, params: KDEnsembleParams) -> Terms:
    """CE and KL to the ensemble's mean, weighted."""
    z_s, _ = step.task.rows(step.student)
    z, masks = zip(*(step.task.rows(teacher) for teacher in step.teachers), strict=True)
    log_mean = losses.log_mean_probability([z_n / params.temperature for z_n in z], dim=1)
    mask = None if masks[0] is None else torch.stack(masks).float().mean(dim=0)
    # T · ln p̄ are logits whose softened probabilities are p̄
    kl = losses.kl(params.temperature * log_mean, z_s, params.temperature, mask)
    return {"ce": (1 - params.a) * step.task.loss(step.student, step.targets), "kl": params.a * kl}
