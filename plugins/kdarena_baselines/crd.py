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

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdarena import Flag, Float, Int, Learner, Method, NotApplicable, Paper, Params, Phase, Run, Step, Task, Terms, Update, hookimpl


@dataclass(frozen=True)
class CRDParams(Params):
    """Weight, and the numbers of noise-contrastive estimation."""

    w: float = Float(0.8, 0.05, 2.0, least=0, log=True, source="code", help="weight of both contrastive terms; the labels have 1")
    temperature: float = Float(0.07, 0.03, 0.3, above=0, log=True, source="code", help="τ, of the cosines")
    momentum: float = Float(0.5, 0.0, 0.9, least=0, below=1, source="code", help="p, share of a bank's row that stays when its sample is seen")
    negatives: int = Int(16384, 64, 16384, least=1, log=True, source="code", cost=True, help="K; at most what the other classes offer to every class")
    dimension: int = Int(128, 32, 256, least=1, log=True, source="code", cost=True, help="d of the common space")
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
    """For each of ``targets`` [B] that many different training samples of other classes [B, count], each of them equally likely.

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


class CRD:
    """Student and teacher embed the same image alike, and images of other classes apart."""

    params: CRDParams
    method = Method(
        "crd",
        "contrastive representation distillation with memory banks",
        Paper("Contrastive Representation Distillation", "ICLR", 2020, "https://arxiv.org/abs/1910.10699"),
        Params=CRDParams,
        requires=("class scores", "one label a sample", "one embedding a sample"),
        applies=lambda card, params: None if card.classes > 1 else "its negatives are samples of other classes, and the task has one class",
    )

    @hookimpl
    def build_student(self, task: Task, teacher: nn.Module, run: Run) -> Learner:
        """The student, and the projections W_s and W_t of both embeddings to the common space."""
        student = run.new_student()
        self.w_s, self.w_t = (self._projection(task, network) for network in (student, teacher))
        return Learner(student, {"projection_student": self.w_s, "projection_teacher": self.w_t})

    def _projection(self, task: Task, network: nn.Module) -> nn.Linear:
        embedding = task.shapes(network).embedding
        assert embedding is not None
        return nn.Linear(embedding[0], self.params.dimension).to(task.device)

    @hookimpl
    def schedule(self) -> Sequence[Phase]:
        """One phase and one update; the banks follow each step."""
        return [Phase("train", lambda run: [Update("train", run.learner.parameters(), after=self.update_banks)], prepare=self.new_banks)]

    @hookimpl
    def loss(self, step: Step) -> Terms:
        """CE, and w times the contrast of each side against the other's bank."""
        negatives = draw_negatives(self.classes, step.targets, self.negatives, step.run.generator)
        columns = torch.cat([step.index[:, None], negatives], dim=1)
        v_s, v_t = self.embeddings(step)
        return {
            "ce": step.task.loss(step.student, step.targets),
            "nce_s": self.params.w * self.contrast(v_s, self.m_t, columns),
            "nce_t": self.params.w * self.contrast(v_t, self.m_s, columns),
        }

    def contrast(self, anchors: Tensor, bank: Memory, columns: Tensor) -> Tensor:
        """L_s or L_t: anchors [B, d] against rows ``columns`` [B, 1 + K] of the other side's bank."""
        log_scores = bank.log_scores(anchors, columns, self.params.temperature)
        return l_nce(bank.normalised(log_scores) if self.params.normalise else log_scores, len(bank.vectors))

    def embeddings(self, step: Step) -> tuple[Tensor, Tensor]:
        """v_s and v_t [B, d]."""
        f_s, f_t = step.student.embedding, step.teacher.embedding
        assert f_s is not None and f_t is not None
        return functional.normalize(step.apply(self.w_s, f_s), dim=1), functional.normalize(step.apply(self.w_t, f_t), dim=1)

    def new_banks(self, run: Run) -> None:
        """Two banks of random vectors, and K: as many negatives as every class can have."""
        self.classes = run.targets  # once: the task makes them anew whenever it is asked
        largest_class = int(self.classes.bincount().max())
        self.negatives = min(self.params.negatives, run.train_size - largest_class)
        if self.negatives < 1:
            raise NotApplicable("all training samples are of one class, so that there are no negatives")
        self.m_s, self.m_t = (Memory(run.train_size, self.params.dimension, run.generator) for _ in range(2))

    @torch.no_grad()
    def update_banks(self, step: Step) -> None:
        """Move the batch's rows towards what the step's loss was computed from: a module is called once a step, so that the new
        weights change nothing here."""
        v_s, v_t = self.embeddings(step)
        self.m_s.update(step.index, v_s, self.params.momentum)
        self.m_t.update(step.index, v_t, self.params.momentum)
