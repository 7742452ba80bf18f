"""KD from an ensemble: the target is the mean of N teachers' softened probabilities. The control for every method with N teachers.

Hinton, Vinyals, Dean: "Distilling the Knowledge in a Neural Network", 2015, https://arxiv.org/abs/1503.02531 (section 3
distils an ensemble; the arithmetic mean of its members' predictions is one of the two means that section 1 names).

z_n: logits of teacher n [P, C].

    p̄ = 1/N Σ_n softmax(z_n / T)
    L = (1 − a) · CE(y, z_s) + a · T² · KL(p̄ ‖ softmax(z_s / T))
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch

from kdarena import ROWS, Int, Method, Paper, hookimpl, losses, teacher_pool
from kdarena_kd import kd

if TYPE_CHECKING:
    from torch import Tensor

    from kdarena import Step, TaskCard


@dataclass(frozen=True)
class KDEnsembleParams(kd.KDParams):
    """As for one teacher, and how many there are."""

    teachers: int = Int(3, 1, 5, source="ours", cost=True, help="N, teachers trained from different seeds")


def mean_log_probability(logits: Sequence[Tensor], temperature: float) -> Tensor:
    """ln p̄ [P, C] of N teachers' logits [P, C] each: stable where a probability underflows."""
    log_probabilities = torch.stack([torch.log_softmax(z_n / temperature, dim=1) for z_n in logits])
    return torch.logsumexp(log_probabilities, dim=0) - math.log(len(logits))


def applies(card: TaskCard, params: KDEnsembleParams) -> str | None:
    """Why it can't run on a task with these parameters, or None."""
    if params.teachers < 1:
        return f"teachers={params.teachers}: an ensemble has at least one"
    return kd.applies(card, params)


class KDEnsemble:
    """The student matches the mean distribution of N teachers."""

    method = Method(
        name="kd-ensemble",
        title="knowledge distillation from the mean of N teachers' softened probabilities",
        paper=Paper("Distilling the Knowledge in a Neural Network", "NeurIPS workshop", 2015, "https://arxiv.org/abs/1503.02531"),
        equations="L = (1 - a) CE(y, z_s) + a T^2 KL(mean_n softmax(z_n / T) || softmax(z_s / T))",
        extended=ROWS,
        Params=KDEnsembleParams,
        teachers=lambda card, params: teacher_pool(params.teachers, "teacher"),
        applies=applies,
    )

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """CE and KL to the ensemble's mean, weighted."""
        params = cast(KDEnsembleParams, step.params)
        z_s, mask = step.task.rows(step.student)
        log_mean = mean_log_probability([step.task.rows(teacher)[0] for teacher in step.teachers], params.temperature)
        ce = step.task.loss(step.student, step.targets)
        # T · ln p̄ are logits whose softened probabilities are p̄
        kl = losses.kl(params.temperature * log_mean, z_s, params.temperature, mask)
        return {"ce": (1 - params.a) * ce, "kl": params.a * kl}
