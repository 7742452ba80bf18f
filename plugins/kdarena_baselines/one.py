"""ONE: on-the-fly native ensemble of branches on one stem.

Lan, Zhu, Gong: "Knowledge Distillation by On-the-Fly Native Ensemble", NeurIPS 2018, https://arxiv.org/abs/1806.04606

The network is cut behind its last stage but one, where its map is x [B, C, H, W]: a stem, which all share, and m branches
behind it, each with a last stage and a head of its own. z_i: logits of branch i [P, classes].

    g = softmax(ReLU(BN(W · mean_HW x + b)))                                [B, m], the gate
    z_e = Σ_i g_i · z_i                                                     the native ensemble, the teacher on the fly
    L = Σ_i CE(y, z_i) + CE(y, z_e) + r · Σ_i T² · KL(softmax(sg z_e / T) ‖ softmax(z_i / T))

sg: the ensemble is a target, so that it learns from the labels alone. r: rises from e⁻⁵ to 1 over the first part of a run
(code), or is 1 (as printed). Stem and branch 0 are the student and are deployed; the ensemble is scored besides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from kdarena import Float, Int, Learner, Method, Paper, Params, hookimpl, losses, no_teachers

if TYPE_CHECKING:
    from kdarena import Run, Step, Task, TaskCard


@dataclass(frozen=True)
class ONEParams(Params):
    """Number of branches, temperature and ramp-up of what the ensemble tells them."""

    branches: int = Int(3, 2, 5, source="code", cost=True, help="m, branches, the student's own among them")
    temperature: float = Float(3.0, 1.0, 8.0, log=True, source="code", help="T, softens the distributions that are matched")
    ramp_up: float = Float(80 / 300, 0.0, 0.5, source="code", tune=False, help="share of a run over which the weight of KL rises to 1; 0: it is 1 (paper)")


class Gate(nn.Module):
    """A stem's map [B, C, H, W] to the weights of m branches [B, m], which sum to 1."""

    def __init__(self, channels: int, branches: int):
        super().__init__()
        self.linear = nn.Linear(channels, branches)
        self.bn = nn.BatchNorm1d(branches)

    def forward(self, x: Tensor) -> Tensor:
        """softmax(ReLU(BN(W · mean x + b)))."""
        return torch.softmax(torch.relu(self.bn(self.linear(x.mean(dim=(2, 3))))).float(), dim=1)


def ensemble_logits(gate: Tensor, logits: list[Tensor]) -> Tensor:
    """z_e [B, classes] of a gate [B, m] and m branches' logits."""
    return (gate[:, None, :] * torch.stack(logits, dim=2)).sum(dim=2)


class NativeEnsemble(nn.Module):
    """Stem, branches and gate as one network whose logits are z_e."""

    def __init__(self, task: Task, student: nn.Module, stage: str, branches: list[nn.Module], gate: nn.Module):
        super().__init__()
        self.task, self.stage = task, stage
        self.student, self.branches, self.gate = student, nn.ModuleList(branches), gate

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [B, …] to logits [B, classes]."""
        first = self.task.forward(self.student, inputs)
        x = first.features[self.stage]
        logits = [first.logits, *(cast(nn.Module, branch.head)(branch(x)).float() for branch in self.branches)]
        return ensemble_logits(self.gate(x).float(), logits)


def applies(card: TaskCard, params: ONEParams) -> str | None:
    """Why it can't run on a task with these parameters, or None."""
    if params.branches < 2:
        return f"an ensemble needs at least two branches, not {params.branches}"
    if reason := losses.refuse_temperature(params.temperature):
        return reason
    return None if card.branches else "its student can't be cut into a stem and branches behind its last stage but one"


class ONE:
    """Branches on one stem learn from the gated ensemble that they make."""

    method = Method(
        name="one",
        title="knowledge distillation by an on-the-fly native ensemble of branches",
        paper=Paper("Knowledge Distillation by On-the-Fly Native Ensemble", "NeurIPS", 2018, "https://arxiv.org/abs/1806.04606"),
        equations="L = sum_i CE(y, z_i) + CE(y, z_e) + r sum_i T^2 KL(softmax(sg z_e / T) || softmax(z_i / T)), z_e = sum_i g_i z_i",
        Params=ONEParams,
        teachers=no_teachers,
        applies=applies,
    )

    @hookimpl
    def build_student(self, task: Task, params: ONEParams, run: Run) -> Learner:
        """The student, m − 1 further branches, each from a seed of its own, and the gate."""
        student = run.new_student()
        features = task.shapes(student).features
        stage = run.store["stage"] = list(features)[-2]
        branches: dict[str, nn.Module] = {f"branch{i}": task.branch(run.new_student(peer=i), after=stage) for i in range(1, params.branches)}
        gate = Gate(features[stage][0], params.branches).to(task.device)
        ensemble = NativeEnsemble(task, student, stage, list(branches.values()), gate)
        return Learner(student, helpers={**branches, "gate": gate}, deploy={"ensemble": ensemble})

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """CE of every branch and of the ensemble, and KL of each branch from the ensemble."""
        from kdarena import Outputs

        params, helpers = cast(ONEParams, step.params), step.learner.helpers
        x = step.student.features[step.run.store["stage"]]
        logits = [step.student.logits]
        for i in range(1, params.branches):
            branch = helpers[f"branch{i}"]
            logits.append(step.apply(cast(nn.Module, branch.head), step.apply(branch, x)))
        ensemble = Outputs(ensemble_logits(step.apply(helpers["gate"], x), logits))
        z_e, mask = step.task.rows(ensemble)
        terms = {"ce_ensemble": step.task.loss(ensemble, step.targets)}
        r = losses.ramp_up(step.run_progress, params.ramp_up)
        for i, z_i in enumerate(logits):
            terms[f"ce{i}"] = step.task.loss(Outputs(z_i), step.targets)
            terms[f"kl{i}"] = r * losses.kl(z_e.detach(), step.task.rows(Outputs(z_i))[0], params.temperature, mask)
        return terms
