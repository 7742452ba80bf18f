"""DIST: distillation from a stronger teacher by correlation instead of divergence.

Huang, You, Wang, Qian, Xu: "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022, https://arxiv.org/abs/2205.10536

Y^s, Y^t = softmax(z_s / τ), softmax(z_t / τ) [P, C]; ρ: Pearson's correlation.

    L_inter = 1/P Σ_i (1 − ρ(Y^s_[i,:], Y^t_[i,:]))      the classes of one sample
    L_intra = 1/C Σ_j (1 − ρ(Y^s_[:,j], Y^t_[:,j]))      one class over the batch
    L = CE(y, z_s) + τ² · (β · L_inter + γ · L_intra)

P: the samples of a batch, in segmentation all pixels of its score maps. τ² is the public code's for images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch

from kdarena import Float, Method, Paper, Params, hookimpl, losses

if TYPE_CHECKING:
    from torch import Tensor

    from kdarena import Step, TaskCard

EPSILON = 1e-8
"""Added to the product of norms, as in the public code: a constant row or class has correlation zero."""


@dataclass(frozen=True)
class DISTParams(Params):
    """Weights of the two correlations, and the temperature."""

    beta: float = Float(2.0, 0.1, 20.0, log=True, source="code", help="weight of the inter-class term; 2 is CIFAR's")
    gamma: float = Float(2.0, 0.1, 20.0, log=True, source="code", help="weight of the intra-class term; 2 is CIFAR's")
    temperature: float = Float(4.0, 1.0, 20.0, log=True, source="code", help="τ, softens both distributions")


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


def applies(card: TaskCard, params: DISTParams) -> str | None:
    """Why it can't run on a task with these parameters, or None."""
    return losses.refuse_temperature(params.temperature)


class DIST:
    """Rows and columns of the student's probabilities correlate with the teacher's."""

    method = Method(
        name="dist",
        title="correlation with a stronger teacher, among classes and among samples",
        paper=Paper("Knowledge Distillation from A Stronger Teacher", "NeurIPS", 2022, "https://arxiv.org/abs/2205.10536"),
        equations="L = CE(y, z_s) + tau^2 (beta mean_i (1 - rho(Y^s_i, Y^t_i)) + gamma mean_j (1 - rho(Y^s_:j, Y^t_:j)))",
        tracks=("classification", "segmentation"),
        Params=DISTParams,
        applies=applies,
    )

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """CE and both correlations."""
        params = cast(DISTParams, step.params)
        # samples, or all pixels of the score map: neither track has rows that don't count
        z_s, _ = step.task.rows(step.student)
        z_t, _ = step.task.rows(step.teacher)
        inter, intra = l_inter_intra(z_s, z_t, params.temperature)
        factor = params.temperature**2
        return {"ce": step.task.loss(step.student, step.targets), "inter": factor * params.beta * inter, "intra": factor * params.gamma * intra}
