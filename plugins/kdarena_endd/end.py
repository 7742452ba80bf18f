"""EnD: ensemble distillation, the mean of an ensemble's predictions.

Malinin, Mlodozeniec, Gales: "Ensemble Distribution Distillation", ICLR 2020, https://arxiv.org/abs/1905.00076 (the baseline there).

z_m: the members' logits, together [B, M, N]; z: the student's [B, N].

    π_m = softmax(z_m / T),  π̄ = 1/M Σ_m π_m
    L = T² · KL(π̄ ‖ softmax(z / T)), mean over B

The paper prints the divergence with a minus sign in front, a slip: it is minimised. No labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from kdarena import Choice, Flag, Float, Method, hookimpl, losses
from kdarena_endd.ensemble import EXCLUDED, EXTENDED, PAPER, EnsembleDistillation, EnsembleParams, applies, entropy, teachers, temperature_at

if TYPE_CHECKING:
    from torch import Tensor

    from kdarena import Outputs, Step


@dataclass(frozen=True)
class EnDParams(EnsembleParams):
    """As for both, with a temperature that stays."""

    temperature: float = Float(2.5, 1.0, 20.0, log=True, source="code", help="T0, where the temperature starts; divides the members' and the student's logits")
    annealed: bool = Flag(False, source="code", help="T from T0 to 1 in the course of the run; else T0 throughout")
    hold: float = Float(1 / 3, 0.1, 0.45, source="code", tune=False, help="share of the run at T0, if T is annealed")
    anneal: float = Float(1 / 3, 0.1, 0.45, source="code", tune=False, help="share of the run after that in which T falls linearly to 1, if it is annealed")
    reduction: str = Choice("sum", ("sum", "mean"), source="paper", help="the divergence as sum (paper) or mean (code) over classes")


def divergence(z_m: Tensor, z: Tensor, temperature: float, reduction: str) -> Tensor:
    """T² · KL(π̄ ‖ softmax(z / T)), mean over B.

    Args:
        z_m: [B, M, N].
        z: [B, N].
        temperature: T.
        reduction: ``"sum"`` or ``"mean"`` over classes.
    """
    log_mean = (z_m / temperature).log_softmax(dim=2).logsumexp(dim=1) - math.log(z_m.shape[1])
    # T · ln π̄ are logits whose softened probabilities are π̄
    loss = losses.kl(temperature * log_mean, z, temperature)
    return loss / z.shape[1] if reduction == "mean" else loss


def uncertainties(outputs: Outputs) -> Mapping[str, Tensor]:
    """Of one categorical distribution there is but the total uncertainty [B]."""
    return {"total": entropy(outputs.logits.detach().cpu().double().log_softmax(dim=1))}


class EnD(EnsembleDistillation):
    """The student matches the mean distribution of the ensemble."""

    def __init__(self, name: str, *, auxiliary: bool = False):
        super().__init__(uncertainties, auxiliary)
        beside = ", on auxiliary data besides" if auxiliary else ""
        self.method = Method(
            name=name,
            title=f"distillation of the mean of an ensemble{beside}",
            paper=PAPER,
            equations="L = T^2 KL(mean_m softmax(z_m / T) || softmax(z / T))",
            Params=EnDParams,
            extended={} if auxiliary else EXTENDED,
            excluded=EXCLUDED,
            labels=False,
            auxiliary=auxiliary,
            teachers=teachers,
            applies=lambda card, params: applies(card, params, auxiliary),
        )

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """The divergence from the ensemble's mean."""
        params = cast(EnDParams, step.params)
        z_m, z = self.logits(step)
        return {"kl": divergence(z_m, z, temperature_at(step.run_progress, params), params.reduction)}
