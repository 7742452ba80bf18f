"""DIST: distillation from a stronger teacher by correlation instead of divergence.

Huang, You, Wang, Qian, Xu: "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022, https://arxiv.org/abs/2205.10536

Y^s, Y^t = softmax(z_s / τ), softmax(z_t / τ) [P, C]; ρ: Pearson's correlation.

    L_inter = 1/P Σ_i (1 − ρ(Y^s_[i,:], Y^t_[i,:]))      the classes of one sample
    L_intra = 1/C Σ_j (1 − ρ(Y^s_[:,j], Y^t_[:,j]))      one class over the batch
    L = CE(y, z_s) + τ² · (β · L_inter + γ · L_intra)

P: the samples of a batch, in segmentation all pixels of its score maps. τ² is the public code's for images.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from kdarena import Float, Method, Paper, Params, Step, Terms, hookimpl

EPSILON = 1e-8
"""Added to the product of norms, as in the public code: a constant row or class has correlation zero."""


@dataclass(frozen=True)
class DISTParams(Params):
    """Weights of the two correlations, and the temperature."""

    beta: float = Float(2.0, 0.1, 20.0, least=0, log=True, source="code", help="weight of the inter-class term; 2 is CIFAR's")
    gamma: float = Float(2.0, 0.1, 20.0, least=0, log=True, source="code", help="weight of the intra-class term; 2 is CIFAR's")
    temperature: float = Float(4.0, 1.0, 20.0, above=0, log=True, source="code", help="τ, softens both distributions")


method = Method(
    "dist",
    "correlation with a stronger teacher, among classes and among samples",
    Paper("Knowledge Distillation from A Stronger Teacher", "NeurIPS", 2022, "https://arxiv.org/abs/2205.10536"),
    tracks=("classification", "segmentation"),
    excluded={"detection": "a detector's scores are sigmoids: no distribution over classes whose entries could be correlated"},
    Params=DISTParams,
)


def pearson(one: Tensor, other: Tensor, dim: int) -> Tensor:
    """ρ of two matrices along ``dim``.

    Args:
        one, other: [P, C].
        dim: 1: of each row [P]; 0: of each column [C].
    """
    a, b = (x - x.mean(dim=dim, keepdim=True) for x in (one, other))
    norms = torch.linalg.vector_norm(a, dim=dim) * torch.linalg.vector_norm(b, dim=dim)
    rho: Tensor = (a * b).sum(dim=dim) / (norms + EPSILON)
    return rho


def l_inter_intra(z_s: Tensor, z_t: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """L_inter and L_intra of logits [P, C], without τ²."""
    y_s, y_t = (torch.softmax(z.float() / temperature, dim=1) for z in (z_s, z_t))
    return 1 - pearson(y_s, y_t, dim=1).mean(), 1 - pearson(y_s, y_t, dim=0).mean()


@hookimpl
def loss(step: Step, params: DISTParams) -> Terms:
    """CE and both correlations."""
    # samples, or all pixels of the score map: on both tracks every row counts
    (z_s, _), (z_t, _) = step.task.rows(step.student), step.task.rows(step.teacher)
    inter, intra = l_inter_intra(z_s, z_t, params.temperature)
    factor = params.temperature**2
    return {"ce": step.task.loss(step.student, step.targets), "inter": factor * params.beta * inter, "intra": factor * params.gamma * intra}
