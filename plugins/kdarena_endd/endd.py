"""EnD²: ensemble distribution distillation, the distribution of an ensemble's predictions in one prior network.

Malinin, Mlodozeniec, Gales: "Ensemble Distribution Distillation", ICLR 2020, https://arxiv.org/abs/1905.00076

z_m: logits of M members, together [B, M, N]; z: the student's [B, N]; T: temperature; ε = smoothing.

    p(π | x) = Dir(π; α),  α = exp(z / T),  α_0 = Σ_c α_c
    π_m = softmax(z_m / T),  π̃_m = (1 − ε) (π_m − 1/N) + 1/N
    g_c = 1/M Σ_m ln π̃_mc
    −ln p = Σ_c lnΓ(α_c) − lnΓ(α_0) − Σ_c (α_c − 1) g_c
    L = T² · mean_b −ln p

a density's, so that it may be negative, and it grows with T²: its values can be compared at one T only. T is T0 for the first third
of the run, falls linearly to 1 in the second, and is 1 in the last, so that P(y | x) = α / α_0 = softmax(z). No labels. ``endd-aux``:
b counts the samples of a batch and of a batch of unlabelled auxiliary inputs. Of a student with earlier exits L is the sum over all
exits, each of which is a prior network with the same members. With ψ = digamma, in closed form and at T = 1:

    total uncertainty       H[α / α_0]
    expected data           −Σ_c (α_c / α_0) (ψ(α_c + 1) − ψ(α_0 + 1))
    knowledge (MI)          total − data
    EPKL                    (N − 1) / α_0
    differential entropy    Σ_c lnΓ(α_c) − lnΓ(α_0) − Σ_c (α_c − 1) (ψ(α_c) − ψ(α_0))
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from kdarena import Float, Method, Outputs, Step, Terms, hookimpl
from kdarena_endd.ensemble import EXCLUDED, EXTENDED, PAPER, EnsembleDistillation, EnsembleParams, entropy, teachers, temperature_at

TINY = 1e-8
"""What the public code adds in ln and lnΓ: an α that underflows to 0 then has a gradient of 0 instead of none."""


@dataclass(frozen=True)
class EnDDParams(EnsembleParams):
    """As for both, the smoothing of the targets, and a smaller largest gradient."""

    clip: float = Float(1.0, 0.1, 20.0, above=0, log=True, source="ours", help="largest norm of the gradient; it is reached in most steps (code: 10)")
    # without any a member's probability may underflow to 0, whose logarithm is infinite
    smoothing: float = Float(1e-3, 1e-5, 1e-2, above=0, below=1, log=True, source="code", help="epsilon, how far members are drawn to the uniform distribution")


def mean_log_probability(z_m: Tensor, temperature: Tensor | float, smoothing: float, tiny: float = TINY) -> Tensor:
    """g [B, N]: the logarithm of the members' geometric, not arithmetic, mean, from z_m [B, M, N]."""
    pi = (z_m / temperature).softmax(dim=2)
    uniform = 1 / z_m.shape[2]
    pi_smooth = (1 - smoothing) * (pi - uniform) + uniform
    return (pi_smooth + tiny).log().mean(dim=1)


def negative_log_likelihood(alpha: Tensor, g: Tensor, tiny: float = TINY) -> Tensor:
    """−ln Dir(π; α) [B], mean over members; α and g: [B, N], not in half precision."""
    normaliser = torch.lgamma(alpha + tiny).sum(dim=1) - torch.lgamma(alpha.sum(dim=1) + tiny)
    return normaliser - ((alpha - 1) * g).sum(dim=1)


class EnDD(EnsembleDistillation):
    """The student's Dirichlet distribution makes the members' predictions likely."""

    method = Method(
        "endd",
        "distillation of the distribution of an ensemble into a prior network",
        PAPER,
        extended=EXTENDED,
        excluded=EXCLUDED,
        Params=EnDDParams,
        labels=False,
        teachers=teachers,
    )
    params: EnDDParams

    def uncertainties(self, outputs: Outputs) -> Mapping[str, Tensor]:
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

    @hookimpl
    def loss(self, step: Step) -> Terms:
        """The negative log-likelihood of the members under each exit's distribution, T² in front."""
        temperature = temperature_at(step.run_progress, self.params)
        z_m, exits = self.members_and_exits(step)
        g = mean_log_probability(z_m, temperature, self.params.smoothing)
        nll = [temperature**2 * negative_log_likelihood((z / temperature).exp(), g).mean() for z in exits]
        return {"nll": torch.stack(nll).sum()}


class EnDDAux(EnDD):
    """The same, of auxiliary inputs too."""

    method = dataclasses.replace(
        EnDD.method,
        name="endd-aux",
        title="distillation of the distribution of an ensemble into a prior network, also on auxiliary data",
        extended={},
        requires=("class scores", "auxiliary inputs"),
        auxiliary=True,
    )
