"""KD: knowledge distillation from one teacher's logits.

Hinton, Vinyals, Dean: "Distilling the Knowledge in a Neural Network", 2015, https://arxiv.org/abs/1503.02531

z_s, z_t: logits of student and teacher [P, C], where P counts samples (all pixels of a score map, tokens up to the end of
their sentence).

    p_t = softmax(z_t / T),  p_s = softmax(z_s / T)
    L_KD = T² · KL(p_t ‖ p_s), mean over P
    L = (1 − a) · CE(y, z_s) + a · L_KD

T² keeps the size of the soft gradient where T is changed (section 2). The paper names no single setting; a = 0.9 and T = 4
are the public benchmark's for CIFAR-100 (weights 0.1 and 0.9).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from kdarena import ROWS, Float, Method, Paper, Params, hookimpl, losses

if TYPE_CHECKING:
    from torch import Tensor

    from kdarena import Step, TaskCard


@dataclass(frozen=True)
class KDParams(Params):
    """Weight and temperature of the soft targets."""

    a: float = Float(0.9, 0.1, 1.0, source="code", help="weight of the teacher's term; the labels get 1 - a")
    temperature: float = Float(4.0, 1.0, 20.0, log=True, source="code", help="T, softens both distributions")


def applies(card: TaskCard, params: KDParams) -> str | None:
    """Why it can't run on a task with these parameters, or None."""
    if reason := losses.refuse_temperature(params.temperature):
        return reason
    return None if 0 <= params.a <= 1 else f"a is the teacher's share of the loss, in [0, 1], not {params.a:g}"


class KD:
    """The student matches the softened distribution of its teacher."""

    method = Method(
        name="kd",
        title="knowledge distillation from the teacher's softened logits",
        paper=Paper("Distilling the Knowledge in a Neural Network", "NeurIPS workshop", 2015, "https://arxiv.org/abs/1503.02531"),
        equations="L = (1 - a) CE(y, z_s) + a T^2 KL(softmax(z_t / T) || softmax(z_s / T))",
        extended=ROWS,
        Params=KDParams,
        applies=applies,
    )

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """CE and KL, weighted."""
        params = cast(KDParams, step.params)
        z_s, mask = step.task.rows(step.student)
        z_t, _ = step.task.rows(step.teacher)
        ce = step.task.loss(step.student, step.targets)
        kl = losses.kl(z_t, z_s, params.temperature, mask)
        return {"ce": (1 - params.a) * ce, "kl": params.a * kl}
