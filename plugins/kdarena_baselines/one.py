"""ONE: on-the-fly native ensemble of branches on one stem.

Lan, Zhu, Gong: "Knowledge Distillation by On-the-Fly Native Ensemble", NeurIPS 2018, https://arxiv.org/abs/1806.04606

The network is cut behind its last stage but one, where its map is x [B, C, H, W]: a stem, which all share, and m branches
behind it, each with a last stage and a head of its own. z_i: logits of branch i [P, classes].

    g = softmax(ReLU(BN(W · mean_HW x + b)))                                [B, m], the gate
    z_e = Σ_i g_i · z_i                                                     the native ensemble, the teacher on the fly
    L = Σ_i CE(y, z_i) + CE(y, z_e) + r · Σ_i T² · KL(softmax(sg z_e / T) ‖ softmax(z_i / T))

sg: the ensemble is a target, so that it learns from the labels alone. r = exp(−5 · (1 − progress / ramp_up)²) until the run's
progress is ramp_up, then 1 (code); ramp_up = 0: 1 throughout (as printed). Stem and branch 0 are the student and are deployed;
the ensemble is scored too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdarena import Branch, Float, Int, Learner, Method, Outputs, Paper, Params, Run, Step, Task, Terms, hookimpl, losses, no_teachers, schedules


@dataclass(frozen=True)
class ONEParams(Params):
    """Number of branches, temperature and ramp-up of the ensemble's term."""

    branches: int = Int(3, 2, 5, least=2, source="code", cost=True, help="m, branches, the student's own among them")
    temperature: float = Float(3.0, 1.0, 8.0, above=0, log=True, source="code", help="T, softens the distributions that are matched")
    ramp_up: float = Float(
        80 / 300, 0.0, 0.5, least=0, most=1, source="code", tune=False, help="share of a run over which the weight of KL rises to 1; 0: it is 1 (paper)"
    )


class Gate(nn.Module):
    """A stem's map [B, C, H, W] to the weights of m branches [B, m], which sum to 1."""

    def __init__(self, channels: int, branches: int):
        super().__init__()
        self.linear = nn.Linear(channels, branches)
        self.bn = nn.BatchNorm1d(branches)

    def forward(self, x: Tensor) -> Tensor:
        """softmax(ReLU(BN(W · mean x + b)))."""
        return torch.softmax(torch.relu(self.bn(self.linear(x.mean(dim=(2, 3))))).float(), dim=1)


def ensemble_logits(gate: Tensor, logits: Sequence[Tensor]) -> Tensor:
    """z_e [B, classes] of a gate [B, m] and m branches' logits."""
    return (gate[:, None, :] * torch.stack(list(logits), dim=2)).sum(dim=2)


class NativeEnsemble(nn.Module):
    """Stem, branches and gate as one network whose logits are z_e."""

    def __init__(self, task: Task, student: nn.Module, stage: str, branches: Sequence[Branch], gate: Gate):
        super().__init__()
        self.task, self.stage = task, stage
        self.student, self.branches, self.gate = student, nn.ModuleList(branches), gate

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [B, …] to logits [B, classes]."""
        first = self.task.forward(self.student, inputs)
        x = first.features[self.stage]
        logits = [first.logits, *(branch.get_submodule("head")(branch(x)).float() for branch in self.branches)]
        return ensemble_logits(self.gate(x).float(), logits)


class ONE:
    """Branches on one stem learn from the gated ensemble that they make."""

    params: ONEParams
    method = Method(
        "one",
        "knowledge distillation by an on-the-fly native ensemble of branches",
        Paper("Knowledge Distillation by On-the-Fly Native Ensemble", "NeurIPS", 2018, "https://arxiv.org/abs/1806.04606"),
        Params=ONEParams,
        requires=("class scores", "a student that can be cut behind a stage"),
        teachers=no_teachers,
    )

    @hookimpl
    def build_student(self, task: Task, run: Run) -> Learner:
        """The student, m − 1 further branches, each from a seed of its own, and the gate."""
        student = run.new_student()
        features = task.shapes(student).features
        self.stage = list(features)[-2]
        self.branches = [task.branch(run.new_student(peer=i), after=self.stage) for i in range(1, self.params.branches)]
        self.gate = Gate(features[self.stage][0], self.params.branches).to(task.device)
        helpers = {f"branch{i}": branch for i, branch in enumerate(self.branches, 1)}
        ensemble = NativeEnsemble(task, student, self.stage, self.branches, self.gate)
        return Learner(student, helpers={**helpers, "gate": self.gate}, deploy={"ensemble": ensemble})

    @hookimpl
    def loss(self, step: Step) -> Terms:
        """CE of every branch and of the ensemble, and KL of each branch from the ensemble."""
        x = step.student.features[self.stage]
        logits = [step.student.logits, *(step.apply(branch.head, step.apply(branch, x)) for branch in self.branches)]
        ensemble = Outputs(ensemble_logits(step.apply(self.gate, x), logits))
        z_e, mask = step.task.rows(ensemble)
        terms = {"ce_ensemble": step.task.loss(ensemble, step.targets)}
        r = schedules.ramp_up(step.run_progress, self.params.ramp_up)
        for i, z_i in enumerate(logits):
            terms[f"ce{i}"] = step.task.loss(Outputs(z_i), step.targets)
            terms[f"kl{i}"] = r * losses.kl(z_e.detach(), step.task.rows(Outputs(z_i))[0], self.params.temperature, mask)
        return terms
