"""What EnD and EnD² share: the ensemble, its temperature, its uncertainties, the gradient's clipping.

Malinin, Mlodozeniec, Gales: "Ensemble Distribution Distillation", ICLR 2020, https://arxiv.org/abs/1905.00076

z_m: the members' logits, together [B, M, N] for M members and N classes; π_m = softmax(z_m), π̄ = 1/M Σ_m π_m; H: entropy.

    total uncertainty       H[π̄]
    expected data           1/M Σ_m H[π_m]
    knowledge (MI)          total − data = 1/M Σ_m KL(π_m ‖ π̄)
    EPKL                    1/M² Σ_m Σ_k KL(π_m ‖ π_k)

All of them in float64, since the interesting ones are small differences, and at a temperature of 1.
"""

import abc
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Adam

from kdarena import (
    ROWS,
    Choice,
    Ensemble,
    Flag,
    Float,
    Int,
    Learner,
    Method,
    Outputs,
    Paper,
    Params,
    Phase,
    Run,
    Step,
    TaskCard,
    TeacherSpec,
    Update,
    hookimpl,
    schedules,
    teacher_pool,
)

PAPER = Paper("Ensemble Distribution Distillation", "ICLR", 2020, "https://arxiv.org/abs/1905.00076")


@dataclass(frozen=True)
class EnsembleParams(Params):
    """The ensemble, the temperature's course, and the largest gradient."""

    teachers: int = Int(
        3, 2, 5, least=2, source="ours", cost=True, help="M, members of the ensemble, trained from different seeds; the public re-implementation has 100"
    )
    architecture: str = Choice("teacher", ("teacher", "student"), source="ours", cost=True, help="of the members; the paper's are the student's")
    temperature: float = Float(
        10.0, 1.0, 20.0, least=1, log=True, source="code", help="T0, where the temperature starts; divides the members' and the student's logits"
    )
    annealed: bool = Flag(True, source="code", help="T from T0 to 1 in the course of the run; else T0 throughout")
    hold: float = Float(1 / 3, 0.1, 0.45, least=0, below=1, source="code", help="share of the run at T0")
    anneal: float = Float(1 / 3, 0.1, 0.45, least=0, below=1, source="code", help="share of the run after that in which T falls linearly to 1")
    clip: float = Float(10.0, 1.0, 20.0, above=0, log=True, source="code", help="largest norm of the gradient")
    optimizer: str = Choice("recipe", ("recipe", "adam"), source="ours", help="the task's own, or Adam on one cycle as the public re-implementation's")
    peak_lr: float = Float(1e-2, 1e-3, 3e-2, above=0, log=True, source="code", tune=False, help="of Adam, at a third of the run; a tenth of it at the start")

    def conflict(self) -> str | None:
        """A course of the temperature that leaves no step at 1."""
        if self.hold + self.anneal < 1:
            return None
        return f"hold and anneal are shares of the run that leave one at a temperature of 1: their sum is below 1, not {self.hold:g} + {self.anneal:g}"


EXTENDED = {track: ROWS[track] for track in ("segmentation", "text")}
EXCLUDED = {"speech": "it learns without labels, and a decoder would be fed them"}


def temperature_at(run_progress: Tensor, params: EnsembleParams) -> Tensor | float:
    """T at a progress of the run in [0, 1), a 0-dimensional tensor: T0, then linearly to 1, and exactly 1 to the end; T0 where it is not annealed."""
    if not params.annealed:
        return params.temperature
    # 1 plus what is left of T0 − 1, so that the last part is at 1 without a rounding error
    return 1 + (params.temperature - 1) * schedules.linear(run_progress, 1.0, 0.0, begin=params.hold, length=params.anneal)


def teachers(card: TaskCard, params: EnsembleParams) -> tuple[TeacherSpec, ...]:
    """The members."""
    return teacher_pool(params.teachers, params.architecture)


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


class EnsembleDistillation(abc.ABC):
    """The hooks that both methods share."""

    method: Method
    params: EnsembleParams

    @abc.abstractmethod
    def uncertainties(self, outputs: Outputs) -> Mapping[str, Tensor]:
        """The student's uncertainties [B] by name."""

    @hookimpl
    def build_student(self, run: Run) -> Learner:
        """The student, and the ensemble to score in addition to it."""
        # in eval mode as its members are, so that no evaluation gives them another mode
        ensemble = Ensemble(run.teacher_modules()).eval()
        return Learner(run.new_student(), deploy={"ensemble": ensemble}, uncertainties={"student": self.uncertainties, "ensemble": ensemble_uncertainties})

    @hookimpl
    def schedule(self) -> Sequence[Phase]:
        """One phase, whose gradient is clipped."""
        return [Phase("train", self.updates, data="auxiliary" if self.method.auxiliary else "augmented")]

    def updates(self, run: Run) -> list[Update]:
        """One update of the student, by the recipe's optimiser or by Adam on one cycle."""
        params, parameters = self.params, run.learner.parameters()
        if params.optimizer == "recipe":
            return [Update("train", parameters, clip=params.clip)]
        cycle = schedules.curve(schedules.one_cycle)
        return [Update("train", parameters, lambda trained: Adam(trained, lr=params.peak_lr), cycle, clip=params.clip)]

    def members_and_exits(self, step: Step) -> tuple[Tensor, list[Tensor]]:
        """The members' z_m [B, M, N], and z [B, N] of the student's last exit and of its earlier ones, where B counts rows.

        Auxiliary inputs come behind the others in one pass.
        """
        inputs = torch.cat([step.inputs, step.auxiliary]) if self.method.auxiliary else None
        members = [step.task.rows(step.forward(member, inputs))[0] for member in step.run.teacher_modules()]
        exits = [z for z, _ in step.task.exit_rows(step.forward(step.learner.student, inputs))]
        return torch.stack(members, dim=1), exits
