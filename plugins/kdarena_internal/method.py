"""Distillation from internal representations: attention and hidden states of mapped layers.

Aguilar, Ling, Zhang, Yao, Fan, Guo: "Knowledge Distillation from Internal Representations", AAAI 2020, https://arxiv.org/abs/1910.03723

A: attention probabilities before dropout [B, heads, L, L]; h: hidden state at [CLS] [B, D]; z: logits [B, C]; T teacher with N_T
layers, S student with N_S.

    g(k) = k · N_T / N_S:  layer k of the student is matched with layer g(k) of the teacher
    L_kl(k) = 1/n Σ_i A_T,i · ln(A_T,i / A_S,i),  n real query rows i; then the mean over heads and batch
    L_cos(k) = 1 − cos(h_T, h_S), mean over the batch
    ℓ_k = w_kl · L_kl(k) + w_cos · L_cos(k)
    L_cls = (1 − a) · CE(y, z_S) + a · T² · KL(softmax(z_T / T) ‖ softmax(z_S / T))

    internal: L = Σ_k ℓ_k + L_cls from the start.    pid, sid: in stages (``stages.py``)

The student's embeddings and its layer k start as the teacher's embeddings and layer g(k), its classifier afresh.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch

from kdarena import Choice, Flag, Float, Learner, Method, Paper, Params, hookimpl, losses
from kdarena_internal.layers import layer_map, start_from_teacher
from kdarena_internal.losses import attention_kl, hidden_cosine

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kdarena import Run, Step, Task, TaskCard

PAPER = Paper("Knowledge Distillation from Internal Representations", "AAAI", 2020, "https://arxiv.org/abs/1910.03723")
EXCLUDED = {
    "classification": "its networks have no layers of attention",
    "segmentation": "its networks have no layers of attention",
    "speech": "its networks have no position as [CLS] that stands for the whole input",
}
CLS = 0
"""Position of the token that stands for the whole sequence."""


@dataclass(frozen=True)
class InternalParams(Params):
    """Weights of the losses, and how the student starts."""

    w_kl: float = Float(1.0, 0.1, 10.0, log=True, source="paper", help="weight of L_kl, the attention")
    w_cos: float = Float(1.0, 0.1, 10.0, log=True, source="paper", help="weight of L_cos, the hidden states at [CLS]")
    a: float = Float(0.5, 0.0, 1.0, source="ours", help="weight of the teacher's logits in L_cls; the labels get 1 - a")
    temperature: float = Float(1.0, 1.0, 4.0, log=True, source="ours", help="T, softens both distributions of L_cls")
    heads: str = Choice("mean", ("mean", "sum"), source="ours", help="of L_kl over the heads")
    from_teacher: bool = Flag(True, source="paper", help="the student starts from the teacher's embeddings and layers g(k), else afresh")


def applies(card: TaskCard, params: InternalParams) -> str | None:
    """Why it can't run on a task, or None."""
    if min(params.w_kl, params.w_cos) < 0 or not 0 <= params.a <= 1 or params.temperature <= 0:
        return f"weights lie above 0, a between 0 and 1: not w_kl={params.w_kl:g}, w_cos={params.w_cos:g}, a={params.a:g}, T={params.temperature:g}"
    return None if card.attentions else "its networks show no attention"


def layer_terms(step: Step, k: int) -> dict[str, Tensor]:
    """The two terms of ℓ_k, weighted."""
    params = cast(InternalParams, step.params)
    student, teacher = step.student, step.teacher
    g_k = step.run.store["g"][k - 1]
    # attentions[k − 1] is made in layer k, hidden[k] comes out of it: hidden[0] is the embeddings'
    l_kl = attention_kl(teacher.attentions[g_k - 1], student.attentions[k - 1], student.tokens, params.heads)
    l_cos = hidden_cosine(teacher.hidden[g_k][:, CLS], student.hidden[k][:, CLS])
    return {f"attention{k}": params.w_kl * l_kl, f"hidden{k}": params.w_cos * l_cos}


def classification_terms(step: Step) -> dict[str, Tensor]:
    """The two terms of L_cls, weighted."""
    params = cast(InternalParams, step.params)
    z_s, mask = step.task.rows(step.student)
    z_t, _ = step.task.rows(step.teacher)
    ce = step.task.loss(step.student, step.targets)
    return {"ce": (1 - params.a) * ce, "kl": params.a * losses.kl(z_t, z_s, params.temperature, mask)}


def terms_of_layers(step: Step, layers: Iterable[int]) -> dict[str, Tensor]:
    """The terms of ℓ_k of several layers."""
    return {name: term for k in layers for name, term in layer_terms(step, k).items()}


class Internal:
    """All layers at once, and the classifier with them."""

    method = Method(
        name="internal",
        title="attention and hidden states of all layers at once, and logits",
        paper=PAPER,
        equations="L = sum_k (w_kl KL(A_T || A_S) + w_cos (1 - cos(h_T, h_S))) + (1 - a) CE(y, z_S) + a T^2 KL(p_T || p_S), layer k with k N_T / N_S",
        tracks=("text",),
        excluded=EXCLUDED,
        Params=InternalParams,
        applies=applies,
        inherits=True,
    )

    @hookimpl
    def build_student(self, task: Task, teacher: nn.Module, params: Any, run: Run) -> Learner:
        """The student, made of the teacher's layers g(k) unless it is to start afresh."""
        student = run.new_student()
        inputs = next(run.batches("plain")).inputs[:1]
        with torch.no_grad():
            # eval mode draws nothing; the harness puts the student into train mode before the first step
            g = run.store["g"] = layer_map(task.forward(student.eval(), inputs), task.forward(teacher, inputs))
        if params.from_teacher:
            start_from_teacher(student, teacher, g)
        return Learner(student)

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """ℓ_k of every layer, and L_cls."""
        return {**terms_of_layers(step, range(1, len(step.run.store["g"]) + 1)), **classification_terms(step)}
