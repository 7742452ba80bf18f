"""Distillation from internal representations: attention and hidden states of mapped layers, at once or in stages.

Aguilar, Ling, Zhang, Yao, Fan, Guo: "Knowledge Distillation from Internal Representations", AAAI 2020, https://arxiv.org/abs/1910.03723

A: attention probabilities before dropout [B, heads, n, n]; h: hidden state at [CLS] [B, D]; z: logits [B, C]; y: labels [B]; T
teacher with N_T layers, S student with N_S; i runs over the n real query rows of a sample, the sum over keys is implied.

    g(k) = k · N_T / N_S:  layer k of the student is matched with layer g(k) of the teacher
    L_kl(k) = 1/n Σ_i A_T,i · ln(A_T,i / A_S,i),  then the mean over heads and batch
    L_cos(k) = 1 − cos(h_T, h_S),  mean over the batch
    ℓ_k = w_kl · L_kl(k) + w_cos · L_cos(k)
    L_cls = (1 − a) · CE(y, z_S) + a · T² · KL(softmax(z_T / T) ‖ softmax(z_S / T))

    internal: L = Σ_k ℓ_k + L_cls from the start
    pid, progressive: L = ℓ_s in stage s = 1 … N_S, then L = L_cls
    sid, stacked: L = Σ_{k ≤ s} ℓ_k in stage s, then L = L_cls

The student's embeddings and its layer k start as the teacher's embeddings and layer g(k), its classifier afresh.

Stages are phases ``layer1`` … of equal shares, the last phase is ``classification``. A stage ends when the mean of its newest ℓ_s over
an epoch falls below the threshold, or with its share of the budget. Gradients reach embeddings and layers up to s; no parameter
above them moves, by weight decay neither. One optimiser serves all stages, unless ``freeze_below`` gives each parameters of its own. Its
learning rate runs through the recipe's curve once over all stages of layers, and once again over the last phase.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from kdarena import Choice, Curve, Flag, Float, Learner, Method, Paper, Params, Phase, Run, Step, Task, Terms, Update, hookimpl, losses
from kdarena_internal.layers import embedder, encoder_layers, layer_map, start_from_teacher
from kdarena_internal.losses import attention_kl, hidden_cosine

PAPER = Paper("Knowledge Distillation from Internal Representations", "AAAI", 2020, "https://arxiv.org/abs/1910.03723")
EXCLUDED = {
    "classification": "the task's networks have no attention layers",
    "segmentation": "the task's networks have no attention layers",
    "detection": "the task's networks have no attention layers",
    "speech": "the task's networks have no position as [CLS] that represents the whole input",
}
CLS = 0
"""Position of the token that represents the whole sequence."""


@dataclass(frozen=True)
class InternalParams(Params):
    """Weights of the losses, and how the student starts."""

    w_kl: float = Float(1.0, 0.1, 10.0, least=0, log=True, source="recalled", help="weight of L_kl, the attention")
    w_cos: float = Float(1.0, 0.1, 10.0, least=0, log=True, source="recalled", help="weight of L_cos, the hidden states at [CLS]")
    a: float = Float(0.5, 0.0, 1.0, least=0, most=1, source="ours", help="weight of the teacher's logits in L_cls; the labels get 1 - a")
    temperature: float = Float(1.0, 1.0, 4.0, above=0, log=True, source="ours", help="T, softens both distributions of L_cls")
    heads: str = Choice("mean", ("mean", "sum"), source="ours", help="of L_kl over the heads")
    from_teacher: bool = Flag(True, source="recalled", help="the student starts from the teacher's embeddings and layers g(k), else afresh")


@dataclass(frozen=True)
class StagedParams(InternalParams):
    """And when a stage ends."""

    threshold: float = Float(
        0.05, 0.005, 0.3, least=0, log=True, source="ours", help="mean of the newest layer's loss over an epoch below which its stage ends"
    )
    share: float = Float(
        0.5, 0.2, 0.9, above=0, below=1, source="ours", cost=True, help="of the budget for the layers' stages together; L_cls gets the rest and what they leave"
    )


@dataclass(frozen=True)
class PIDParams(StagedParams):
    """And what moves in a stage."""

    freeze_below: bool = Flag(
        False, source="ours", cost=True, help="stage s trains layer s alone (the first one the embeddings too); the last phase trains all"
    )


class Internal:
    """All layers at once, and the classifier with them.

    Attributes:
        g: the layer map g(1) … g(N_S), counted from 1.
    """

    params: InternalParams
    g: tuple[int, ...]
    method = Method(
        "internal",
        "attention and hidden states of all layers at once, and logits",
        PAPER,
        tracks=("text",),
        excluded=EXCLUDED,
        Params=InternalParams,
        requires=("class scores", "attention layers"),
        inherits=True,
    )

    @hookimpl
    def build_student(self, task: Task, teacher: nn.Module, run: Run) -> Learner:
        """The student, made of the teacher's layers g(k) unless it is to start afresh."""
        student = run.new_student()
        inputs = next(run.batches("plain")).inputs[:1]
        with torch.no_grad():
            # eval mode draws nothing; the harness puts the student into train mode before the first step
            self.g = layer_map(task.forward(student.eval(), inputs), task.forward(teacher, inputs))
        if self.params.from_teacher:
            start_from_teacher(student, teacher, self.g)
        return Learner(student)

    @hookimpl
    def loss(self, step: Step) -> Terms:
        """ℓ_k of every layer, and L_cls."""
        return {**self.terms_of_layers(step, range(1, len(self.g) + 1)), **self.classification_terms(step)}

    def terms_of_layers(self, step: Step, layers: Iterable[int]) -> dict[str, Tensor]:
        """The two terms of ℓ_k of each of several layers, weighted."""
        student, teacher = step.student, step.teacher
        terms: dict[str, Tensor] = {}
        for k in layers:
            g_k = self.g[k - 1]
            # attentions[k − 1] is made in layer k, hidden[k] comes out of it: hidden[0] is the embeddings'
            l_kl = attention_kl(teacher.attentions[g_k - 1], student.attentions[k - 1], student.tokens, self.params.heads)
            l_cos = hidden_cosine(teacher.hidden[g_k][:, CLS], student.hidden[k][:, CLS])
            terms |= {f"attention{k}": self.params.w_kl * l_kl, f"hidden{k}": self.params.w_cos * l_cos}
        return terms

    def classification_terms(self, step: Step) -> dict[str, Tensor]:
        """The two terms of L_cls, weighted."""
        (z_s, mask), (z_t, _) = step.task.rows(step.student), step.task.rows(step.teacher)
        kl = losses.kl(z_t, z_s, self.params.temperature, mask)
        return {"ce": (1 - self.params.a) * step.task.loss(step.student, step.targets), "kl": self.params.a * kl}


class Staged(Internal):
    """Stages of layers, then the classifier.

    Attributes:
        stacked: whether a stage keeps the losses of the layers below.
        stages: s of each phase that trains layers, by its name.
        newest: ℓ_s of the last epoch's steps, the newest last [steps an epoch]; infinite where there was no step yet.
    """

    params: StagedParams
    stacked: bool
    stages: dict[str, int]
    newest: Tensor

    @hookimpl
    def schedule(self, task: Task, run: Run) -> Sequence[Phase]:
        """A phase a layer, and one for the classifier."""
        count = len(self.g)
        self.newest = torch.full((run.steps_per_epoch,), math.inf, device=task.device)
        self.stages = {f"layer{s}": s for s in range(1, count + 1)}
        stages = [
            Phase(
                name,
                partial(self.updates_of_stage, s=s, curve=_part_of(task.curve, s, count)),
                self.params.share / count,
                prepare=self._forget,
                stop_when=self._below_threshold,
            )
            for name, s in self.stages.items()
        ]
        return [*stages, Phase("classification", lambda run: [_everything(run)], 1 - self.params.share)]

    @hookimpl
    def loss(self, step: Step) -> Terms:
        """ℓ_s, stacked on those of the layers below or not; in the last phase L_cls."""
        s = self.stages.get(step.phase)
        if s is None:
            return self.classification_terms(step)
        terms = self.terms_of_layers(step, range(1 if self.stacked else s, s + 1))
        l_s = (terms[f"attention{s}"] + terms[f"hidden{s}"]).detach()
        self.newest.copy_(torch.cat([self.newest[1:], l_s.unsqueeze(0)]))
        return terms

    def updates_of_stage(self, run: Run, *, s: int, curve: Curve) -> list[Update]:
        """What trains in stage s, at a learning rate that follows ``curve``."""
        return [_everything(run, curve)]

    def _forget(self, run: Run) -> None:
        self.newest.fill_(math.inf)

    def _below_threshold(self, run: Run) -> bool:
        """Whether the newest layer's loss, as a mean over a whole epoch, has fallen below the threshold."""
        return float(self.newest.mean()) < self.params.threshold


class PID(Staged):
    """Progressive internal distillation."""

    params: PIDParams
    stacked = False
    method = Method(
        "pid",
        "attention and hidden states of one layer after the other, then logits",
        PAPER,
        tracks=("text",),
        excluded=EXCLUDED,
        Params=PIDParams,
        requires=("class scores", "attention layers"),
        inherits=True,
    )

    def updates_of_stage(self, run: Run, *, s: int, curve: Curve) -> list[Update]:
        """Everything, or with ``freeze_below`` layer s alone, in the first stage with the embeddings."""
        if not self.params.freeze_below:
            return super().updates_of_stage(run, s=s, curve=curve)
        student = run.learner.student
        layer = encoder_layers(student, len(self.g))[s - 1]
        embeddings = embedder(student).parameters() if s == 1 else ()
        return [Update("student", [*embeddings, *layer.parameters()], curve=curve)]


class SID(Staged):
    """Stacked internal distillation."""

    stacked = True
    method = Method(
        "sid",
        "attention and hidden states of one layer more in each stage, then logits",
        PAPER,
        tracks=("text",),
        excluded=EXCLUDED,
        Params=StagedParams,
        requires=("class scores", "attention layers"),
        inherits=True,
    )


def _everything(run: Run, curve: Curve | None = None) -> Update:
    # all parameters in every phase, so that the optimiser can be kept; those above a stage's layer have no gradient and stay as they are
    return Update("student", run.learner.student.parameters(), curve=curve, keep=True, optional=True)


def _part_of(curve: Curve, s: int, count: int) -> Curve:
    """Of ``count`` equal parts of a curve that of stage s."""
    return lambda progress: curve((s - 1 + progress) / count)
