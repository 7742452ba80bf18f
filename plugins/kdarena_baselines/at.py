"""AT: attention transfer, the student looks where its teacher looks.

Zagoruyko, Komodakis: "Paying More Attention to Attention: Improving the Performance of Convolutional Neural Networks via
Attention Transfer", ICLR 2017, https://arxiv.org/abs/1612.03928

A^j: map of stage j [B, C, H, W]; I: pairs of stages of student and teacher.

    F(A) = 1/C Σ_c |A_c|^p                             attention map [B, H, W]
    Q = vec(F(A)),  Q̂ = Q / ‖Q‖₂
    L_AT = Σ_{j∈I} mean over samples and positions of (Q̂_S^j − Q̂_T^j)²      public code
    L_AT = ½ Σ_{j∈I} ‖ Q̂_S^j − Q̂_T^j ‖₂, mean over samples                   paper, equation 2
    L = CE(y, z_s) + β · L_AT

Where the grids of a pair differ, the larger map is average-pooled to the smaller grid before F.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdarena import Choice, Float, Int, Learner, Method, Paper, Params, Run, Step, Task, Terms, hookimpl
from kdarena_baselines.stages import MOST, pairs


@dataclass(frozen=True)
class ATParams(Params):
    """Weight, power and reach of the attention term."""

    beta: float = Float(1000.0, 1.0, 10000.0, least=0, log=True, source="code", help="weight of L_AT; 1000 belongs to the squared form")
    p: int = Int(2, 1, 4, least=1, source="code", help="power of the activations in an attention map")
    stages: int = Int(MOST, 1, MOST, least=1, source="code", cost=True, help="pairs of stages at most, from the deepest on")
    distance: str = Choice("squared", ("squared", "norm"), source="code", help="mean of squares (code) or half the norm (paper)")


def q_hat(A: Tensor, grid: tuple[int, int], p: int) -> Tensor:  # noqa: N803 - the paper's symbol
    """Q̂ [B, H · W] of a map [B, C, H', W'], average-pooled to a grid H × W where its own is another."""
    if A.shape[2:] != grid:
        A = functional.adaptive_avg_pool2d(A, grid)  # noqa: N806
    return functional.normalize(A.abs().pow(p).mean(dim=1).flatten(1), dim=1)


def l_at(A_s: Tensor, A_t: Tensor, p: int, distance: str) -> Tensor:  # noqa: N803
    """One stage's part of L_AT."""
    grid = (min(A_s.shape[2], A_t.shape[2]), min(A_s.shape[3], A_t.shape[3]))
    difference = q_hat(A_s, grid, p) - q_hat(A_t, grid, p)
    return (difference**2).mean() if distance == "squared" else torch.linalg.vector_norm(difference, dim=1).mean() / 2


class AT:
    """The student's attention maps match the teacher's."""

    params: ATParams
    method = Method(
        "at",
        "attention transfer: normalised maps of squared activations at each stage",
        Paper("Paying More Attention to Attention", "ICLR", 2017, "https://arxiv.org/abs/1612.03928"),
        extended={"detection": "the maps are those of the feature pyramid"},
        Params=ATParams,
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
        """CE and β · L_AT, a term for each pair of stages."""
        ours, theirs = step.student.features, step.teacher.features
        terms = {"ce": step.task.loss(step.student, step.targets)}
        for stage, teacher_stage in self.pairs:
            terms[f"at-{stage}"] = self.params.beta * l_at(ours[stage], theirs[teacher_stage], self.params.p, self.params.distance)
        return terms
