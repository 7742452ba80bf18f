"""MSD: multi-self-distillation among the exits of one network.

Luan, Zhao, Yang, Dai: "MSD: Multi-Self-Distillation Learning via Multi-classifiers within Deep Neural Networks", 2019, https://arxiv.org/abs/1911.09418

N exits, shallow to deep; a^n: logits of exit n [P, C]; p^n = softmax(a^n), q^n = softmax(a^n / τ); F_n: what the linear layer of exit n sees [B, D].

    loss_1 = Σ_n CE(p^n, y)
    loss_2 = 1/(N−1) Σ_i Σ_{j≠i} KL(q^j ‖ q^i)          every exit learns from the mean of all others
    loss_3 = Σ_{n<N} ‖ F_n − F_N ‖₂²
    L = (1−α) · loss_1 + α · [τ²] · loss_2 + β · loss_3
    β = β_end + ½ (1 + cos(π · e/E)) · (β_begin − β_end)        e/E: progress of the run

Detached, exit i is the student in KL(q^j ‖ q^i), and q^j and F_N are targets. The printed β has a bracket misplaced, so that
it starts near ½ whatever β_begin is; this is the schedule that it means.

The exits are the network's own where it has some (MSDNet). Else exit n < N is a branch behind stage n: one block sampled of
each later stage, with weights of its own; exit N is the network's own head. Branches are thrown away, the network is deployed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kdarena import Choice, Flag, Float, Learner, Method, NotApplicable, Outputs, Paper, Params, Run, Step, Task, TaskCard, Terms, hookimpl, no_teachers
from kdarena.schedules import cosine
from kdarena_msd.networks import MultiExit


@dataclass(frozen=True)
class MSDParams(Params):
    """Weights and temperature of the three losses; five defaults as in the first author's code of Be Your Own Teacher, since MSD has none."""

    alpha: float = Float(0.1, 0.05, 0.7, least=0, most=1, source="ours", help="weight of loss_2; the labels get 1 - alpha; as Be Your Own Teacher's code")
    tau: float = Float(3.0, 1.0, 6.0, above=0, source="ours", help="temperature of the exits' distributions; as Be Your Own Teacher's code")
    tau_squared: bool = Flag(True, source="ours", help="tau^2 in front of loss_2, as Be Your Own Teacher's code; not printed in the paper")
    beta_begin: float = Float(1.28e-4, 1e-5, 0.1, least=0, log=True, source="ours", help="loss_3's weight at first; as Be Your Own Teacher's: 128 times 1e-6")
    beta_end: float = Float(0.0, 0.0, 1e-3, least=0, source="ours", tune=False, help="weight of loss_3 at the end")
    detach: bool = Flag(True, source="ours", help="exits taught from, and F_N, get no gradient from loss_2, loss_3; as Be Your Own Teacher's code")
    reduction: str = Choice("batch-mean", ("batch-mean", "sum", "mean"), source="ours", help="loss_3 over the batch (channels are summed but in mean)")


def applies(card: TaskCard, params: MSDParams) -> str | None:
    """Why it can't run on a task, or None."""
    if card.exits or (card.branches and card.feature_maps):
        return None
    return f"it needs at least two exits; student {card.student} has none but its last, and can't be cut into branches behind its stages"


def loss_2(logits: Sequence[Tensor], tau: float, detach: bool, mask: Tensor | None = None) -> Tensor:
    """1/(N−1) Σ_i Σ_{j≠i} KL(q^j ‖ q^i) of N exits' logits [P, C] each, mean over the rows that count, without τ²."""
    log_q = torch.log_softmax(torch.stack(list(logits)) / tau, dim=-1)
    log_target = log_q.detach() if detach else log_q
    # Σ_i (ln q^j − ln q^i) for all i at once: i = j adds nothing, to the value nor to the gradient
    rows = (log_target.exp() * (len(logits) * log_target - log_q.sum(dim=0))).sum(dim=(0, 2))
    mean = rows.mean() if mask is None else (rows * mask).sum() / mask.sum().clamp(min=1)
    return mean / (len(logits) - 1)


def loss_3(features: Sequence[Tensor], detach: bool, reduction: str) -> Tensor:
    """Σ_{n<N} ‖F_n − F_N‖₂² of F_1 … F_N [B, D], deepest last; over the batch as the reduction says."""
    *shallow, deepest = features
    squares = (torch.stack(shallow) - (deepest.detach() if detach else deepest)).square().sum(dim=0)
    return {"batch-mean": squares.sum(dim=1).mean, "sum": squares.sum, "mean": squares.mean}[reduction]()


class MSD:
    """Each exit matches the labels, the other exits' distributions, and the deepest exit's features."""

    method = Method(
        "msd",
        "self-distillation among all exits of one network",
        Paper("MSD: Multi-Self-Distillation Learning via Multi-classifiers within Deep Neural Networks", "arXiv", 2019, "https://arxiv.org/abs/1911.09418"),
        excluded=dict.fromkeys(("segmentation", "text", "speech", "detection"), "its students have one exit, and can't be cut behind a stage"),
        Params=MSDParams,
        teachers=no_teachers,
        applies=applies,
    )
    params: MSDParams
    exits: MultiExit

    @hookimpl
    def build_student(self, task: Task, run: Run) -> Learner:
        """The student, and where it has no exits of its own a branch behind each stage but the last."""
        student = run.new_student()
        stages = [] if task.card.exits else list(task.shapes(student).features)
        if len(stages) < 2 and not task.card.exits:
            raise NotApplicable(f"a branch needs a stage behind it, but student {task.card.student} has {len(stages)}")
        # a network of its own for each: branches may share neither weights nor batch norm
        branches = {stage: task.branch(run.new_student(peer=n), after=stage, blocks=1) for n, stage in enumerate(stages[:-1], start=1)}
        self.exits = MultiExit(task, student, branches)
        helpers = {f"exit{n}": branch for n, branch in enumerate(branches.values(), start=1)}
        return Learner(student, {**helpers}, deploy={"multi-exit": self.exits}, report=self.exits.anytime)

    @hookimpl
    def loss(self, step: Step) -> Terms:
        """The three losses, the labels' by exit."""
        params = self.params
        logits, features = self.exits.answers(step.student, step.apply)
        rows = [step.task.rows(Outputs(a_n)) for a_n in logits]
        terms = {f"ce{n}": (1 - params.alpha) * step.task.loss(Outputs(a_n), step.targets) for n, a_n in enumerate(logits, start=1)}
        factor = params.tau**2 if params.tau_squared else 1.0
        terms["distillation"] = params.alpha * factor * loss_2([a_n for a_n, _ in rows], params.tau, params.detach, rows[-1][1])
        beta = cosine(step.run_progress, params.beta_begin, params.beta_end)
        terms["feature"] = beta * loss_3(features, params.detach, params.reduction)
        return terms
