"""Logit standardisation: the student learns the shape of the teacher's logits, not their shift and scale.

L = a · CE(y, z_s) + b · T² · KL(softmax(Z(z_t) / T) ‖ softmax(Z(z_s) / T)),   Z(z) = (z − mean(z)) / std(z), over classes

The public code divides by the standard deviation of C − 1 degrees of freedom, as here.
"""

from dataclasses import dataclass

from kdarena import Float, Method, Paper, Params, Step, Terms, hookimpl, losses


@dataclass(frozen=True)
class StandardisedParams(Params):
    a: float = Float(0.1, 0.1, 1.0, source="recalled", least=0, help="weight of the labels")
    b: float = Float(9.0, 1.0, 20.0, source="code", least=0, log=True, help="weight of the teacher's term")
    temperature: float = Float(2.0, 1.0, 8.0, source="code", above=0, log=True, help="T, the base temperature")


method = Method(
    name="logit-standardisation",
    title="standardised logits of student and teacher are compared",
    paper=Paper("Logit Standardization in Knowledge Distillation", "CVPR", 2024, "https://arxiv.org/abs/2403.01427"),
    Params=StandardisedParams,
)


def standardise(z):
    return (z - z.mean(dim=-1, keepdim=True)) / (z.std(dim=-1, keepdim=True) + 1e-7)


@hookimpl
def loss(step: Step, params: StandardisedParams) -> Terms:
    z_s, z_t = standardise(step.student.logits), standardise(step.teacher.logits)
    ce = step.task.loss(step.student, step.targets)
    return {"ce": params.a * ce, "kl": params.b * losses.kl(z_t, z_s, params.temperature)}
