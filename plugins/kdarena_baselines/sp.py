"""SP: similarity-preserving distillation, samples that are alike for the teacher are alike for the student.

Tung, Mori: "Similarity-Preserving Knowledge Distillation", ICCV 2019, https://arxiv.org/abs/1907.09682

A^l: map of stage l [b, C, H, W], b the batch; I: pairs of stages of student and teacher, whose shapes need not agree.

    Q = reshape(A, [b, C · H · W]),  G̃ = Q Qᵀ [b, b],  G_[i,:] = G̃_[i,:] / ‖ G̃_[i,:] ‖₂
    L_SP = 1/b² Σ_{(l,l')∈I} ‖ G_T^l − G_S^l' ‖_F²
    L = CE(y, z_s) + γ · L_SP
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from kdarena import Float, Int, Learner, Method, Paper, Params, Run, Step, Task, Terms, hookimpl
from kdarena_baselines.stages import MOST, pairs


@dataclass(frozen=True)
class SPParams(Params):
    """Weight and reach of the similarity term."""

    gamma: float = Float(3000.0, 10.0, 30000.0, least=0, log=True, source="code", help="weight of L_SP")
    stages: int = Int(1, 1, MOST, least=1, source="code", cost=True, help="pairs of stages at most, from the deepest on")


def similarity(A: Tensor) -> Tensor:  # noqa: N803 - the paper's symbol
    """G [b, b] of a map [b, C, H, W]."""
    Q = A.flatten(1)  # noqa: N806
    return functional.normalize(Q @ Q.T, dim=1)


def l_sp(A_s: Tensor, A_t: Tensor) -> Tensor:  # noqa: N803
    """One pair's part of L_SP: the mean over the b² entries is the squared Frobenius norm divided by b²."""
    return ((similarity(A_t) - similarity(A_s)) ** 2).mean()


class SP:
    """The similarities of a batch's samples under the student match those under the teacher."""

    params: SPParams
    method = Method(
        "sp",
        "similarity-preserving distillation of a batch's similarity matrix",
        Paper("Similarity-Preserving Knowledge Distillation", "ICCV", 2019, "https://arxiv.org/abs/1907.09682"),
        Params=SPParams,
        requires=("feature maps",),
    )

    @hookimpl
    def build_student(self, task: Task, teacher: nn.Module, run: Run) -> Learner:
        """The student; its stages are paired with the teacher's."""
        student = run.new_student()
        self.pairs = pairs(task.shapes(student).features, task.shapes(teacher).features, self.params.stages)
        return Learner(student)

    @hookimpl
    def loss(self, step: Step) -> Terms:
        """CE and γ · L_SP, a term for each pair of stages."""
        ours, theirs = step.student.features, step.teacher.features
        terms = {"ce": step.task.loss(step.student, step.targets)}
        for stage, teacher_stage in self.pairs:
            terms[f"sp-{stage}"] = self.params.gamma * l_sp(ours[stage], theirs[teacher_stage])
        return terms
