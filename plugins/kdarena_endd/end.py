"""EnD: ensemble distillation, the mean of an ensemble's predictions.

Malinin, Mlodozeniec, Gales: "Ensemble Distribution Distillation", ICLR 2020, https://arxiv.org/abs/1905.00076 (the baseline there).

z_m: logits of M members, together [B, M, N]; z: the student's [B, N]; T: temperature.

    π_m = softmax(z_m / T),  π̄ = 1/M Σ_m π_m
    L = T² · KL(π̄ ‖ softmax(z / T)), mean over B

The paper prints the divergence with a minus sign in front, a slip: it is minimised. No labels. T is fixed, or with ``annealed``
T0 for the first third of the run, linear to 1 in the second, 1 in the last. ``end-aux``: B counts the samples of a batch and of a
batch of unlabelled auxiliary inputs. Of a student with earlier exits L is the sum over all exits, each with the same π̄.

    total uncertainty       H[softmax(z)]
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from kdarena import Choice, Flag, Float, Method, Outputs, Step, Terms, hookimpl, losses
from kdarena_endd.ensemble import EXCLUDED, EXTENDED, PAPER, EnsembleDistillation, EnsembleParams, entropy, teachers, temperature_at


@dataclass(frozen=True)
class EnDParams(EnsembleParams):
    """As for both, with a temperature that stays."""

    temperature: float = Float(
        2.5, 1.0, 20.0, least=1, log=True, source="code", help="T0, where the temperature starts; divides the members' and the student's logits"
    )
    annealed: bool = Flag(False, source="code", help="T from T0 to 1 in the course of the run; else T0 throughout")
    hold: float = Float(1 / 3, 0.1, 0.45, least=0, below=1, source="code", tune=False, help="share of the run at T0, if T is annealed")
    anneal: float = Float(
        1 / 3, 0.1, 0.45, least=0, below=1, source="code", tune=False, help="share of the run after that in which T falls linearly to 1, if it is annealed"
    )
    reduction: str = Choice("sum", ("sum", "mean"), source="paper", help="the divergence as sum (paper) or mean (code) over classes")


def divergence(log_mean: Tensor, z: Tensor, temperature: Tensor | float, reduction: str) -> Tensor:
    """T² · KL(π̄ ‖ softmax(z / T)), mean over B.

    Args:
        log_mean: ln π̄ [B, N].
        z: [B, N].
        temperature: T.
        reduction: ``"sum"`` or ``"mean"`` over classes.
    """
    # T · ln π̄ are logits whose softened probabilities are π̄
    loss = losses.kl(temperature * log_mean, z, temperature)
    return loss / z.shape[1] if reduction == "mean" else loss


class EnD(EnsembleDistillation):
    """The student matches the mean distribution of the ensemble."""

    method = Method(
        "end",
        "distillation of the mean of an ensemble",
        PAPER,
        extended=EXTENDED,
        excluded=EXCLUDED,
        Params=EnDParams,
        labels=False,
        teachers=teachers,
    )
    params: EnDParams

    def uncertainties(self, outputs: Outputs) -> Mapping[str, Tensor]:
        """Of one categorical distribution there is only the total uncertainty [B]."""
        return {"total": entropy(outputs.logits.detach().cpu().double().log_softmax(dim=1))}

    @hookimpl
    def loss(self, step: Step) -> Terms:
        """The divergence of each exit from the ensemble's mean."""
        temperature = temperature_at(step.run_progress, self.params)
        z_m, exits = self.members_and_exits(step)
        log_mean = losses.log_mean_probability((z_m / temperature).unbind(1), dim=1)
        return {"kl": torch.stack([divergence(log_mean, z, temperature, self.params.reduction) for z in exits]).sum()}


class EnDAux(EnD):
    """The same, of auxiliary inputs too."""

    method = dataclasses.replace(
        EnD.method,
        name="end-aux",
        title="distillation of the mean of an ensemble, also on auxiliary data",
        extended={},
        requires=("class scores", "auxiliary inputs"),
        auxiliary=True,
    )
