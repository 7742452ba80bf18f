"""WTTM: the student at temperature 1 matches the teacher's probabilities to a power, most where the teacher is unsure.

L = CE(y, z_s) + b · mean over samples of U(p) · KL(q ‖ softmax(z_s))
p = softmax(z_t),   U(p) = Σ_k p_k^g,   q_k = p_k^g / U(p), which is softmax(g · z_t);   g = 1 / T
"""

from dataclasses import dataclass

from torch.nn import functional as F

from kdarena import Float, Method, Paper, Params, Step, Terms, hookimpl


@dataclass(frozen=True)
class WttmParams(Params):
    b: float = Float(2.0, 0.5, 40.0, source="ours", least=0, log=True, help="weight of the teacher's term")
    g: float = Float(0.25, 0.1, 0.9, source="ours", above=0, help="power of the teacher's probabilities")


method = Method(
    name="wttm",
    title="the teacher's probabilities to a power, weighted by their sum",
    paper=Paper("Knowledge Distillation Based on Transformed Teacher Matching", "ICLR", 2024, "https://arxiv.org/abs/2402.11148"),
    Params=WttmParams,
)


@hookimpl
def loss(step: Step, params: WttmParams) -> Terms:
    z_s, z_t = step.student.logits, step.teacher.logits
    u = F.softmax(z_t, dim=1).pow(params.g).sum(dim=1)
    q = F.softmax(params.g * z_t, dim=1)
    kl = F.kl_div(F.log_softmax(z_s, dim=1), q, reduction="none").sum(dim=1)
    return {"ce": step.task.loss(step.student, step.targets), "match": params.b * (u * kl).mean()}
