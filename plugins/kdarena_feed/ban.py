"""BAN: born-again networks, a network distilled into a new one of its own architecture, generation after generation.

Furlanello, Lipton, Tschannen, Itti, Anandkumar: "Born-Again Neural Networks", ICML 2018, https://arxiv.org/abs/1805.04770

z^k: logits of generation k [P, C], p^k = softmax(z^k / T), T = 1; y: labels; generation 0 is trained by the labels alone.

    ban:      L = −T² Σ_c p_c^{k−1} ln p_c^k + λ · CE(y, z^k), mean over P          λ = 0: BAN; λ = 1: BAN+L
    ban-cwtm: L = Σ_b w_b · CE(y_b, z_b^k),  w_b = max_c p_{b,c}^{k−1} / Σ_u max_c p_{u,c}^{k−1}
    ban-dkpp: as the first, with all entries of p^{k−1} but the largest permuted at random

That targets are unsoftened and may go along with labels is read; the forms of ban-cwtm and ban-dkpp are recalled, not read again.
All generations share the budget equally; the last is deployed. Of a student with earlier exits every loss is the sum over all of
its exits, as the task's is; each of them learns from the last exit of generation k − 1.
"""

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from kdarena import NO_TEACHER, ROWS, Float, Method, Paper, Step, Terms, hookimpl, losses, no_teachers
from kdarena_feed.generations import GenerationParams, Generations


@dataclass(frozen=True)
class BANParams(GenerationParams):
    """And how a generation learns from the one before."""

    label_weight: float = Float(1.0, 0.0, 1.0, least=0, source="paper", help="lambda of the labels in addition to the teacher: 1 is BAN+L, 0 is BAN")
    temperature: float = Float(1.0, 1.0, 4.0, above=0, log=True, source="paper", help="T, softens both distributions")


@dataclass(frozen=True)
class DKPPParams(BANParams):
    """The permuted form learns from its teacher alone: a control, which a tuner gives no labels."""

    label_weight: float = Float(0.0, 0.0, 1.0, least=0, source="recalled", tune=False, help="lambda of the labels in addition to the permuted teacher")


def teacher_confidence_weights(p_t: Tensor) -> Tensor:
    """CWTM: w [P], the largest probability of each row of p_t [P, C] as a share of their sum."""
    confidence = p_t.amax(dim=1)
    return confidence / confidence.sum()


def permuted_dark_knowledge(p_t: Tensor, generator: torch.Generator) -> Tensor:
    """DKPP: each row of p_t [P, C] with its largest entry in place and all others in an order of its own."""
    rows, classes = p_t.shape
    others = torch.arange(classes - 1, device=p_t.device).expand(rows, -1)
    others = others + (others >= p_t.argmax(dim=1, keepdim=True))
    order = torch.rand(rows, classes - 1, generator=generator, device=p_t.device).argsort(dim=1)
    return p_t.scatter(1, others, p_t.gather(1, others).gather(1, order))


class BAN(Generations):
    """Each generation matches its predecessor's distribution, and the labels."""

    method = Method(
        "ban",
        "born-again networks: generations of one architecture, each the teacher of the next",
        Paper("Born-Again Neural Networks", "ICML", 2018, "https://arxiv.org/abs/1805.04770"),
        extended=ROWS,
        Params=BANParams,
        teachers=no_teachers,
    )
    params: BANParams

    @hookimpl
    def loss(self, step: Step) -> Terms:
        """CE; of a later generation with its weight, and −T² Σ_c p_c^{k−1} ln p_c^k of each exit."""
        if step.run.teacher is NO_TEACHER:
            return {"ce": step.task.loss(step.student, step.targets)}
        temperature = self.params.temperature
        p_t, mask = self.target(step)
        exits = [losses.soft_cross_entropy(p_t, z_s / temperature, mask) for z_s, _ in step.task.exit_rows(step.student)]
        ban = temperature**2 * torch.stack(exits).sum()
        return {"ban": ban, "ce": self.params.label_weight * step.task.loss(step.student, step.targets)}

    def target(self, step: Step) -> tuple[Tensor, Tensor | None]:
        """p^{k−1} [P, C], and how much each row counts."""
        z_t, mask = step.task.rows(self.predecessor(step))
        return torch.softmax(z_t / self.params.temperature, dim=1), mask


class DKPP(BAN):
    """All of the teacher's probabilities but the largest are permuted at random."""

    method = dataclasses.replace(
        BAN.method,
        name="ban-dkpp",
        title="born-again networks whose teacher's dark knowledge is permuted",
        extended={track: mapping for track, mapping in ROWS.items() if track != "detection"},
        excluded={"detection": "a detector's rows have two probabilities, and no dark knowledge to permute"},
        Params=DKPPParams,
    )
    params: DKPPParams

    def target(self, step: Step) -> tuple[Tensor, Tensor | None]:
        """p^{k−1} [P, C] with its dark knowledge permuted, and how much each row counts."""
        p_t, mask = super().target(step)
        return permuted_dark_knowledge(p_t, step.run.generator), mask


class CWTM(Generations):
    """The teacher only weights the labels, by its confidence."""

    method = dataclasses.replace(
        BAN.method,
        name="ban-cwtm",
        title="born-again networks that take their teacher's confidence alone, as weights of the labels",
        extended={},
        excluded=dict.fromkeys(("segmentation", "text", "speech", "detection"), "it is defined for batches of images alone"),
        Params=GenerationParams,
    )

    @hookimpl
    def loss(self, step: Step) -> Terms:
        """CE of the first generation; of a later one Σ_b w_b · CE_b of each exit."""
        if step.run.teacher is NO_TEACHER:
            return {"ce": step.task.loss(step.student, step.targets)}
        z_t, _ = step.task.rows(self.predecessor(step))
        weights = teacher_confidence_weights(torch.softmax(z_t, dim=1))
        exits = [(weights * functional.cross_entropy(z_s, step.targets, reduction="none")).sum() for z_s, _ in step.task.exit_rows(step.student)]
        return {"cwtm": torch.stack(exits).sum()}
