"""What the noisy methods share: the loss that they add noise to, its weights, their papers.

Arani, Sarfraz, Zonooz: "Noise as a Resource for Learning in Knowledge Distillation", WACV 2021, https://arxiv.org/abs/1910.05057
(version 1 of 2019: "Improving Generalization and Robustness with Noisy Collaboration in Knowledge Distillation").

z_s, z_t: logits of student and teacher [P, C]; S^τ = softmax(z_s / τ), T^τ = softmax(z_t / τ).

    L = (1 − a) · CE(y, z_s) + a · τ² · KL(T^τ ‖ S^τ), mean over P
"""

from dataclasses import dataclass

from torch import Tensor

from kdarena import Float, Outputs, Paper, Params, Step, Terms, losses

URL = "https://arxiv.org/abs/1910.05057"
PAPER = Paper("Noise as a Resource for Learning in Knowledge Distillation", "WACV", 2021, URL)
FIRST_VERSION = Paper("Improving Generalization and Robustness with Noisy Collaboration in Knowledge Distillation", "arXiv", 2019, URL)


@dataclass(frozen=True)
class NoisyParams(Params):
    """Weight and temperature of the soft targets."""

    a: float = Float(0.9, 0.5, 0.99, least=0, most=1, source="code", help="weight of the teacher's term; the labels get 1 - a")
    tau: float = Float(4.0, 1.0, 20.0, above=0, log=True, source="recalled", help="temperature, softens both distributions; re-implementations have 10 or 20")


def distillation(step: Step, student: Outputs, params: NoisyParams, *, labels: Tensor | None = None, student_first: bool = False) -> Terms:
    """Both terms of the loss for a student's outputs.

    Args:
        labels: those of the cross-entropy, where they are not the step's.
        student_first: KL(S^τ ‖ T^τ) in the place of KL(T^τ ‖ S^τ).
    """
    z_s, _ = step.task.rows(student)
    z_t, mask = step.task.rows(step.teacher)
    ce = step.task.loss(student, step.targets if labels is None else labels)
    kl = losses.kl(z_s, z_t, params.tau, mask) if student_first else losses.kl(z_t, z_s, params.tau, mask)
    return {"ce": (1 - params.a) * ce, "kl": params.a * kl}
