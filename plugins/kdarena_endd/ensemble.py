"""What EnD and EnD² share: the ensemble, its temperature, its uncertainties, the gradient's clipping.

Malinin, Mlodozeniec, Gales: "Ensemble Distribution Distillation", ICLR 2020, https://arxiv.org/abs/1905.00076

z_m: the members' logits, together [B, M, N] for M members and N classes; π_m = softmax(z_m), π̄ = 1/M Σ_m π_m; H: entropy.

    total uncertainty       H[π̄]
    expected data           1/M Σ_m H[π_m]
    knowledge (MI)          total − data = 1/M Σ_m KL(π_m ‖ π̄)
    EPKL                    1/M² Σ_m Σ_k KL(π_m ‖ π_k)

All of them in float64, since the interesting ones are small differences, and at a temperature of 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.optim import Adam

from kdarena import ROWS, Choice, Ensemble, Flag, Float, Int, Learner, Method, Paper, Params, Phase, TeacherSpec, Update, hookimpl, teacher_pool

if TYPE_CHECKING:
    from torch import Tensor

    from kdarena import Outputs, Run, Step, TaskCard

PAPER = Paper("Ensemble Distribution Distillation", "ICLR", 2020, "https://arxiv.org/abs/1905.00076")


@dataclass(frozen=True)
class EnsembleParams(Params):
    """The ensemble, the temperature's course, and the largest gradient."""

    teachers: int = Int(
        3, 2, 5, source="ours", cost=True, help="M, members of the ensemble, trained from different seeds; the public re-implementation has 100"
    )
    architecture: str = Choice("teacher", ("teacher", "student"), source="ours", cost=True, help="of the members; the paper's are the student's")
    temperature: float = Float(10.0, 1.0, 20.0, log=True, source="code", help="T0, where the temperature starts; divides the members' and the student's logits")
    annealed: bool = Flag(True, source="code", help="T from T0 to 1 in the course of the run; else T0 throughout")
    hold: float = Float(1 / 3, 0.1, 0.45, source="code", help="share of the run at T0")
    anneal: float = Float(1 / 3, 0.1, 0.45, source="code", help="share of the run after that in which T falls linearly to 1")
    clip: float = Float(10.0, 1.0, 20.0, log=True, source="code", help="largest norm of the gradient")
    optimizer: str = Choice("recipe", ("recipe", "adam"), source="ours", help="the task's own, or Adam on one cycle as the public re-implementation's")
    peak_lr: float = Float(1e-2, 1e-3, 3e-2, log=True, source="code", tune=False, help="of Adam, at a third of the run; a tenth of it at the start")


EXTENDED = {track: ROWS[track] for track in ("segmentation", "text")}
EXCLUDED = {"speech": "it learns without labels, and a decoder would be fed them"}


def temperature_at(progress: float, params: EnsembleParams) -> float:
    """T at a progress of the run in [0, 1]."""
    if not params.annealed or progress < params.hold:
        return params.temperature
    if progress >= params.hold + params.anneal:
        return 1.0
    return params.temperature + (1 - params.temperature) * (progress - params.hold) / params.anneal


def one_cycle(progress: float) -> float:
    """Factor on Adam's peak rate: up from a tenth in a third of the run, down to it in another, then on to a ten-thousandth."""
    if progress < 1 / 3:
        return 0.1 + 2.7 * progress
    if progress < 2 / 3:
        return 1.9 - 2.7 * progress
    return 0.1 - 0.2997 * (progress - 2 / 3)


def teachers(card: TaskCard, params: EnsembleParams) -> tuple[TeacherSpec, ...]:
    """The members."""
    return teacher_pool(params.teachers, params.architecture)


def applies(card: TaskCard, params: EnsembleParams, auxiliary: bool) -> str | None:
    """Why it can't run on a task, or None."""
    if params.teachers < 2:
        return f"an ensemble needs at least 2 members, not teachers={params.teachers}"
    if params.temperature < 1:
        return f"the temperature falls to 1, so that it has to start at 1 or above, not at {params.temperature:g}"
    if params.hold < 0 or params.anneal < 0 or params.hold + params.anneal >= 1:
        return f"hold and anneal are shares of the run that leave one at a temperature of 1: their sum is below 1, not {params.hold:g} + {params.anneal:g}"
    if params.clip <= 0 or params.peak_lr <= 0:
        return f"the largest norm of the gradient and Adam's rate have to be positive, not clip={params.clip:g} and peak_lr={params.peak_lr:g}"
    if auxiliary and card.auxiliary is None:
        return "it needs unlabelled auxiliary inputs, and the task has none"
    return None


def entropy(log_probabilities: Tensor) -> Tensor:
    """H of distributions [..., N] given by their logarithms."""
    return -(log_probabilities.exp() * log_probabilities).sum(dim=-1)


def ensemble_uncertainties(outputs: Outputs) -> Mapping[str, Tensor]:
    """Uncertainties [B] of an ensemble whose members' logits are the exits."""
    log_pi = torch.stack(outputs.exits, dim=1).detach().cpu().double().log_softmax(dim=2)
    log_mean = log_pi.logsumexp(dim=1) - math.log(log_pi.shape[1])
    total, data = entropy(log_mean), entropy(log_pi).mean(dim=1)
    # the mean over all pairs of −Σ_c π_m ln π_k factors into that of π_m and that of ln π_k
    epkl = -(log_mean.exp() * log_pi.mean(dim=1)).sum(dim=1) - data
    return {"total": total, "data": data, "knowledge": total - data, "epkl": epkl}


class EnsembleDistillation:
    """The hooks that both methods share.

    Args:
        uncertainties: the student's, by name, from its outputs.
        auxiliary: whether the student also learns what the ensemble says of unlabelled auxiliary inputs.
    """

    method: Method

    def __init__(self, uncertainties: Callable[[Outputs], Mapping[str, Tensor]], auxiliary: bool):
        self.uncertainties = uncertainties
        self.auxiliary = auxiliary

    @hookimpl
    def build_student(self, run: Run) -> Learner:
        """The student, and the ensemble to score beside it."""
        # in eval mode as its members are, so that no evaluation gives them another mode
        ensemble = Ensemble(run.teacher_modules()).eval()
        return Learner(run.new_student(), deploy={"ensemble": ensemble}, uncertainties={"student": self.uncertainties, "ensemble": ensemble_uncertainties})

    @hookimpl
    def schedule(self, params: EnsembleParams) -> Sequence[Phase]:
        """One phase, whose gradient is clipped."""

        def updates(run: Run) -> list[Update]:
            if params.optimizer == "recipe":
                return [Update("train", run.learner.parameters(), clip=params.clip)]
            return [Update("train", run.learner.parameters(), lambda parameters: Adam(parameters, lr=params.peak_lr), one_cycle, clip=params.clip)]

        return [Phase("train", updates, data="auxiliary" if self.auxiliary else "augmented")]

    def logits(self, step: Step) -> tuple[Tensor, Tensor]:
        """The members' z_m [B, M, N] and the student's z [B, N], where B counts rows; auxiliary inputs come behind the others in one pass."""
        inputs = torch.cat([step.inputs, step.auxiliary]) if self.auxiliary else None
        members = [step.task.rows(step.forward(member, inputs))[0] for member in step.run.teacher_modules()]
        z, _ = step.task.rows(step.forward(step.learner.student, inputs))
        return torch.stack(members, dim=1), z
