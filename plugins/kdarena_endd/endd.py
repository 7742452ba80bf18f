"""EnD²: ensemble distribution distillation, the distribution of an ensemble's predictions in one prior network.

Malinin, Mlodozeniec, Gales: "Ensemble Distribution Distillation", ICLR 2020, https://arxiv.org/abs/1905.00076

z_m: the members' logits, together [B, M, N]; z: the student's [B, N]; ε = smoothing.

    p(π | x) = Dir(π; α),  α = exp(z / T),  α_0 = Σ_c α_c
    π_m = softmax(z_m / T),  π̃_m = (1 − ε) (π_m − 1/N) + 1/N
    g_c = 1/M Σ_m ln π̃_mc
    −ln p = Σ_c lnΓ(α_c) − lnΓ(α_0) − Σ_c (α_c − 1) g_c
    L = T² · mean_b −ln p

a density's, so that it may be negative. T falls to 1, and P(y | x) = α / α_0 = softmax(z). With ψ = digamma, in closed form:

    total uncertainty       H[α / α_0]
    expected data           −Σ_c (α_c / α_0) (ψ(α_c + 1) − ψ(α_0 + 1))
    knowledge (MI)          total − data
    EPKL                    (N − 1) / α_0
    differential entropy    Σ_c lnΓ(α_c) − lnΓ(α_0) − Σ_c (α_c − 1) (ψ(α_c) − ψ(α_0))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch

from kdarena import Float, Method, hookimpl
from kdarena_endd.ensemble import EXCLUDED, EXTENDED, PAPER, EnsembleDistillation, EnsembleParams, applies, entropy, teachers, temperature_at

if TYPE_CHECKING:
    from torch import Tensor

    from kdarena import Outputs, Step, TaskCard

TINY = 1e-8
"""What the public code adds in ln and lnΓ: an α that underflows to 0 then has a gradient of 0 instead of none."""


@dataclass(frozen=True)
class EnDDParams(EnsembleParams):
    """As for both, the smoothing of the targets, and a smaller largest gradient."""

    clip: float = Float(1.0, 0.1, 20.0, log=True, source="ours", help="largest norm of the gradient; it is reached in most steps (code: 10)")
    smoothing: float = Float(1e-3, 1e-5, 1e-2, log=True, source="code", help="epsilon, how far members are drawn to the uniform distribution")


def mean_log_probability(z_m: Tensor, temperature: float, smoothing: float, tiny: float = TINY) -> Tensor:
    """g [B, N]: the logarithm of the members' geometric, not arithmetic, mean, from z_m [B, M, N]."""
    pi = (z_m / temperature).softmax(dim=2)
    uniform = 1 / z_m.shape[2]
    pi_smooth = (1 - smoothing) * (pi - uniform) + uniform
    return (pi_smooth + tiny).log().mean(dim=1)


def negative_log_likelihood(alpha: Tensor, g: Tensor, tiny: float = TINY) -> Tensor:
    """−ln Dir(π; α) [B], mean over members; α and g: [B, N], not in half precision."""
    normaliser = torch.lgamma(alpha + tiny).sum(dim=1) - torch.lgamma(alpha.sum(dim=1) + tiny)
    return normaliser - ((alpha - 1) * g).sum(dim=1)


def uncertainties(outputs: Outputs) -> Mapping[str, Tensor]:
    """Uncertainties [B] of the Dirichlet distribution at T = 1, in float64."""
    z = outputs.logits.detach().cpu().double()
    # below it ln Γ and ψ overflow, as does the sum over classes
    alpha = z.exp().clamp(min=z.shape[1] * torch.finfo(z.dtype).tiny)
    alpha_0 = alpha.sum(dim=1, keepdim=True)
    total = entropy(z.log_softmax(dim=1))
    data = -(alpha / alpha_0 * (torch.digamma(alpha + 1) - torch.digamma(alpha_0 + 1))).sum(dim=1)
    return {
        "total": total,
        "data": data,
        "knowledge": total - data,
        "epkl": (z.shape[1] - 1) / alpha_0.squeeze(1),
        "differential-entropy": negative_log_likelihood(alpha, torch.digamma(alpha) - torch.digamma(alpha_0), tiny=0.0),
    }


def applies_smoothed(card: TaskCard, params: EnDDParams, auxiliary: bool) -> str | None:
    """Why it can't run on a task, or None."""
    if not 0 < params.smoothing < 1:
        return f"the smoothing has to lie between 0 and 1, not at {params.smoothing:g}: without it a member's probability may underflow to 0"
    return applies(card, params, auxiliary)


class EnDD(EnsembleDistillation):
    """The student's Dirichlet distribution makes the members' predictions likely."""

    def __init__(self, name: str, *, auxiliary: bool = False):
        super().__init__(uncertainties, auxiliary)
        beside = ", on auxiliary data besides" if auxiliary else ""
        self.method = Method(
            name=name,
            title=f"distillation of the distribution of an ensemble into a prior network{beside}",
            paper=PAPER,
            equations="L = -T^2 mean_m ln Dir(smoothed softmax(z_m / T); alpha), alpha = exp(z / T)",
            Params=EnDDParams,
            extended={} if auxiliary else EXTENDED,
            excluded=EXCLUDED,
            labels=False,
            auxiliary=auxiliary,
            teachers=teachers,
            applies=lambda card, params: applies_smoothed(card, params, auxiliary),
        )

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """The likelihood, T² in front."""
        params = cast(EnDDParams, step.params)
        temperature = temperature_at(step.run_progress, params)
        z_m, z = self.logits(step)
        g = mean_log_probability(z_m, temperature, params.smoothing)
        alpha = (z / temperature).exp()
        return {"nll": temperature**2 * negative_log_likelihood(alpha, g).mean()}
