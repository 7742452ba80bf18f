"""RKD: relational distillation, distances and angles among a batch's embeddings.

Park, Kim, Lu, Cho: "Relational Knowledge Distillation", CVPR 2019, https://arxiv.org/abs/1904.05068

e_i: embedding of sample i [D]; student and teacher may differ in D. ℓ: Huber loss with δ = 1.

    ψ_D(i, j) = ‖e_i − e_j‖₂ / μ,  μ the mean distance over the pairs of the batch
    ψ_A(i, j, k) = ⟨e^ij, e^kj⟩,  e^ij = (e_i − e_j) / ‖e_i − e_j‖₂
    L_D = mean over (i, j) of ℓ(ψ_D^T, ψ_D^S),  L_A = mean over (i, j, k) of ℓ(ψ_A^T, ψ_A^S)
    L = CE(y, z_s) + λ_D · L_D + λ_A · L_A

As in the public code the means run over all B² and B³ index tuples; those with equal indices add zero.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from kdarena import Float, Method, Paper, Params, Step, Terms, hookimpl


@dataclass(frozen=True)
class RKDParams(Params):
    """Weights of the two relations."""

    distance: float = Float(25.0, 0.1, 250.0, least=0, log=True, source="code", help="λ_D, weight of the distances")
    angle: float = Float(50.0, 0.1, 500.0, least=0, log=True, source="code", help="λ_A, weight of the angles")


method = Method(
    "rkd",
    "relational distillation of distances and angles among embeddings",
    Paper("Relational Knowledge Distillation", "CVPR", 2019, "https://arxiv.org/abs/1904.05068"),
    Params=RKDParams,
    requires=("class scores", "one embedding a sample"),
)


def relations(e: Tensor) -> tuple[Tensor, Tensor]:
    """ψ_D [B, B] and ψ_A [B, B, B] (vertex first) of embeddings [B, D].

    Where two embeddings coincide, distance and unit vector are zero, and so are their gradients.
    """
    difference = e[None, :] - e[:, None]
    distance = torch.linalg.vector_norm(difference, dim=2)
    apart = distance > 0
    # counted instead of indexed by the mask, which would wait for the device
    mean = distance.sum() / apart.sum().clamp(min=1)
    unit = difference / torch.where(apart, distance, 1.0)[:, :, None]
    return distance / torch.where(mean > 0, mean, 1.0), unit @ unit.transpose(1, 2)


def l_rkd(e_s: Tensor, e_t: Tensor) -> tuple[Tensor, Tensor]:
    """L_D and L_A of the student's embeddings [B, D] and the teacher's [B, D']."""
    (psi_d, psi_a), (target_d, target_a) = relations(e_s), relations(e_t)
    return functional.smooth_l1_loss(psi_d, target_d), functional.smooth_l1_loss(psi_a, target_a)


@hookimpl
def loss(step: Step, params: RKDParams) -> Terms:
    """CE, λ_D · L_D and λ_A · L_A."""
    e_s, e_t = step.student.embedding, step.teacher.embedding
    assert e_s is not None and e_t is not None
    l_d, l_a = l_rkd(e_s, e_t)
    return {"ce": step.task.loss(step.student, step.targets), "distance": params.distance * l_d, "angle": params.angle * l_a}
