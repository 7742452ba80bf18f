"""CRD: contrastive representation distillation.

Tian, Krishnan, Isola: "Contrastive Representation Distillation", ICLR 2020, https://arxiv.org/abs/1910.10699

f_s, f_t: embeddings of student [B, D_s] and teacher [B, D_t], what their last linear layers see; M training samples.

    v_s = W_s f_s / ‖W_s f_s‖₂,  v_t = W_t f_t / ‖W_t f_t‖₂            [B, d], both projections are learnt
    m_s, m_t [M, d]: memory banks of v_s and v_t of every training sample as it was last seen

Student as anchor: the positive is the same sample in the teacher's bank, the K negatives are samples of other classes in it.

    s_j = exp(v_s · m_t[j] / τ) / Z,   j = positive, negatives
    h_j = s_j / (s_j + K / M)                            probability that j comes from the joint distribution
    L_s = −ln h_positive − Σ_negatives ln(1 − h_j)       mean over the batch
    L = CE(y, z_s) + w · (L_s + L_t)                     L_t: the same with the teacher as anchor over m_s

Z = M · mean_j exp(v · m[j] / τ) on the run's first batch, one for each anchor, is then a constant; the printed h has none.
After the step the batch's rows become the unit vectors along p · m[i] + (1 − p) · v_i, with momentum p.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdarena import Flag, Float, Int, Learner, Method, NotApplicable, Paper, Params, Phase, Update, hookimpl, losses

if TYPE_CHECKING:
    from kdarena import Run, Step, Task, TaskCard


@dataclass(frozen=True)
class CRDParams(Params):
    """Weight, and the numbers of noise-contrastive estimation."""

    w: float = Float(0.8, 0.05, 2.0, log=True, source="code", help="weight of both contrastive terms; the labels have 1")
    temperature: float = Float(0.07, 0.03, 0.3, log=True, source="code", help="tau, of the cosines")
    momentum: float = Float(0.5, 0.0, 0.9, source="code", help="p, share of a bank's row that stays when its sample is seen")
    negatives: int = Int(16384, 64, 16384, log=True, source="code", cost=True, help="K; at most what the other classes offer to every class")
    dimension: int = Int(128, 32, 256, log=True, source="code", cost=True, help="d of the common space")
    normalise: bool = Flag(True, source="code", help="divide scores by Z of the first batch (code), or not (the printed h)")


class Memory:
    """A bank of unit vectors [M, d], one a training sample, and ln Z of the scores against it.

    Args:
        samples, dimension: M and d.
        generator: of the first vectors, uniform and of length 1 in the mean square.
    """

    def __init__(self, samples: int, dimension: int, generator: torch.Generator):
        uniform = torch.rand(samples, dimension, generator=generator, device=generator.device)
        self.vectors = (2 * uniform - 1) * math.sqrt(3 / dimension)
        self.log_z: Tensor | None = None

    def log_scores(self, anchors: Tensor, columns: Tensor, temperature: float) -> Tensor:
        """Anchors [B, d] against rows of the bank [B, 1 + K]: v · m[j] / τ in that shape."""
        # one product with the whole bank and a choice from it: B · M numbers instead of the B · K · d of gathered vectors
        return (anchors @ self.vectors.T).gather(1, columns) / temperature

    def normalised(self, log_scores: Tensor) -> Tensor:
        """ln s_j; the first batch sets Z."""
        if self.log_z is None:
            mean = log_scores.detach().flatten().logsumexp(dim=0) - math.log(log_scores.numel())
            self.log_z = mean + math.log(len(self.vectors))
        return log_scores - self.log_z

    def update(self, index: Tensor, vectors: Tensor, momentum: float) -> None:
        """Move the rows ``index`` [B] towards new vectors [B, d] and back to length 1."""
        moved = momentum * self.vectors[index] + (1 - momentum) * vectors.detach()
        self.vectors.index_copy_(0, index, functional.normalize(moved, dim=1))


def draw_negatives(classes: Tensor, targets: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """For each of ``targets`` [B] that many different training samples of other classes [B, count], all alike likely.

    Args:
        classes: labels of the training set [M].
        count: at most the number of samples outside of any one class.
    """
    keys = torch.rand(len(targets), len(classes), generator=generator, device=classes.device)
    keys.masked_fill_(classes == targets[:, None], -1.0)
    return keys.topk(count, dim=1, sorted=False).indices


def l_nce(log_scores: Tensor, samples: int) -> Tensor:
    """−ln h_positive − Σ ln(1 − h_j), mean over rows, of ln s [B, 1 + K] whose first column is the positive.

    h = s / (s + K / M) is the sigmoid of ln s − ln(K / M), so that neither a ratio nor a logarithm can overflow.
    """
    logits = log_scores - math.log((log_scores.shape[1] - 1) / samples)
    return (functional.softplus(-logits[:, 0]) + functional.softplus(logits[:, 1:]).sum(dim=1)).mean()


def applies(card: TaskCard, params: CRDParams) -> str | None:
    """Why it can't run on a task with these parameters, or None."""
    if reason := losses.refuse_temperature(params.temperature):
        return reason
    if not 0 <= params.momentum < 1:
        return f"momentum is a share that stays, in [0, 1), not {params.momentum:g}"
    if params.negatives < 1 or params.dimension < 1:
        return f"it needs at least one negative and one dimension, not {params.negatives} and {params.dimension}"
    return None if card.classes > 1 else "its negatives are samples of other classes, and the task has one class"


class CRD:
    """Student and teacher embed the same image alike, and images of other classes apart."""

    method = Method(
        name="crd",
        title="contrastive representation distillation with memory banks",
        paper=Paper("Contrastive Representation Distillation", "ICLR", 2020, "https://arxiv.org/abs/1910.10699"),
        equations="L = CE + w (L_s + L_t); L_s = -ln h_pos - sum_neg ln(1 - h_j), h_j = s_j / (s_j + K / M), s_j = exp(v_s . m_t[j] / tau) / Z",
        Params=CRDParams,
        applies=applies,
    )

    @hookimpl
    def build_student(self, task: Task, params: CRDParams, run: Run) -> Learner:
        """The student, and the projections W_s and W_t of both embeddings to the common space."""
        student = run.new_student()
        helpers: dict[str, nn.Module] = {}
        for name, network in (("student", student), ("teacher", run.teacher_modules()[0])):
            embedding = task.shapes(network).embedding
            if embedding is None:
                raise NotApplicable(f"the {name} shows no embedding [B, D] before its last linear layer, which is what is contrasted")
            helpers[f"projection_{name}"] = nn.Linear(embedding[0], params.dimension).to(task.device)
        return Learner(student, helpers)

    @hookimpl
    def schedule(self) -> Sequence[Phase]:
        """One phase and one update; the banks follow each step."""
        return [Phase("train", lambda run: [Update("train", run.learner.parameters(), after=_update_memories)], begin=_new_memories)]

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """CE, and w times the contrast of each side against the other's bank."""
        params, store = cast(CRDParams, step.params), step.run.store
        negatives = draw_negatives(step.run.targets, step.targets, store["negatives"], step.run.generator)
        columns = torch.cat([step.index[:, None], negatives], dim=1)
        v_s, v_t = _embeddings(step)
        terms = {"ce": step.task.loss(step.student, step.targets)}
        anchors: list[tuple[str, Tensor, Memory]] = [("nce_s", v_s, store["m_t"]), ("nce_t", v_t, store["m_s"])]
        for name, anchor, memory in anchors:
            log_scores = memory.log_scores(anchor, columns, params.temperature)
            if params.normalise:
                log_scores = memory.normalised(log_scores)
            terms[name] = params.w * l_nce(log_scores, len(memory.vectors))
        return terms


def _embeddings(step: Step) -> tuple[Tensor, Tensor]:
    """v_s and v_t [B, d]."""
    helpers = step.learner.helpers
    f_s, f_t = step.student.embedding, step.teacher.embedding
    assert f_s is not None and f_t is not None
    v_s, v_t = step.apply(helpers["projection_student"], f_s), step.apply(helpers["projection_teacher"], f_t)
    return functional.normalize(v_s, dim=1), functional.normalize(v_t, dim=1)


def _new_memories(run: Run) -> None:
    params = cast(CRDParams, run.params)
    largest_class = int(run.targets.bincount().max())
    count = min(params.negatives, run.train_size - largest_class)
    if count < 1:
        raise NotApplicable("all training samples are of one class, so that there are no negatives")
    run.store["negatives"] = count
    for name in ("m_s", "m_t"):
        run.store[name] = Memory(run.train_size, params.dimension, run.generator)


def _update_memories(step: Step) -> None:
    # what the step's loss was computed from: module calls are made once a step, so that the new weights change nothing here
    params, store = cast(CRDParams, step.params), step.run.store
    with torch.no_grad():
        v_s, v_t = _embeddings(step)
        store["m_s"].update(step.index, v_s, params.momentum)
        store["m_t"].update(step.index, v_t, params.momentum)
