"""KD: knowledge distillation from one teacher's logits.

Hinton, Vinyals, Dean: "Distilling the Knowledge in a Neural Network", 2015, https://arxiv.org/abs/1503.02531

z_s, z_t: logits of student and teacher [P, C]; P counts samples, pixels of a score map, or tokens up to the end of their sentence.

    p_t = softmax(z_t / T),  p_s = softmax(z_s / T)
    L_KD = T² · KL(p_t ‖ p_s), mean over P
    L = (1 − a) · CE(y, z_s) + a · L_KD

T² keeps the size of the soft gradient where T is changed (section 2). The paper names no single setting; a = 0.9 and T = 4
are the public benchmark's for CIFAR-100 (weights 0.1 and 0.9).
"""

from dataclasses import dataclass

from kdarena import ROWS, Float, Method, Paper, Params, Step, Terms, hookimpl, losses

PAPER = Paper("Distilling the Knowledge in a Neural Network", "NeurIPS workshop", 2015, "https://arxiv.org/abs/1503.02531")


@dataclass(frozen=True)
class KDParams(Params):
    """Weight and temperature of the soft targets."""

    a: float = Float(0.9, 0.1, 1.0, least=0, most=1, source="code", help="weight of the teacher's term; the labels get 1 - a")
    temperature: float = Float(4.0, 1.0, 20.0, above=0, log=True, source="code", help="T, softens both distributions")


method = Method("kd", "knowledge distillation from the teacher's softened logits", PAPER, extended=ROWS, Params=KDParams)


@hookimpl
def loss(step: Step, params: KDParams) -> Terms:
    """CE and KL, weighted."""
    (z_s, _), (z_t, mask) = step.task.rows(step.student), step.task.rows(step.teacher)
    kl = losses.kl(z_t, z_s, params.temperature, mask)
    return {"ce": (1 - params.a) * step.task.loss(step.student, step.targets), "kl": params.a * kl}
