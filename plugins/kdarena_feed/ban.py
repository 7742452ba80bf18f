"""BAN: born-again networks, a network distilled into a new one of its own architecture, generation after generation.

Furlanello, Lipton, Tschannen, Itti, Anandkumar: "Born-Again Neural Networks", ICML 2018, https://arxiv.org/abs/1805.04770

z^k: logits of generation k [P, C], p^k = softmax(z^k / T), T = 1; generation 0 is trained by the labels alone.

    L = −T² Σ_c p_c^{k−1} ln p_c^k + λ · CE(y, z^k)          λ = 0: BAN; λ = 1: BAN+L
    ban-cwtm: L = Σ_b w_b · CE(y_b, z_b^k),  w_b = max_c p_{b,c}^{k−1} / Σ_u max_c p_{u,c}^{k−1}
    ban-dkpp: as the first, with all entries of p^{k−1} but the largest permuted at random

All generations share the budget equally; the last is deployed. Of a student with earlier exits every loss is the sum over all of
its exits, as the task's is; each of them learns from the last exit of generation k − 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch.nn import functional

from kdarena import NO_TEACHER, ROWS, Float, Int, Method, Paper, Params, Phase, hookimpl, losses, no_teachers
from kdarena_feed import generations

if TYPE_CHECKING:
    from torch import Tensor

    from kdarena import Step, TaskCard


PAPER = Paper("Born-Again Neural Networks", "ICML", 2018, "https://arxiv.org/abs/1805.04770")


@dataclass(frozen=True)
class GenerationParams(Params):
    """What all variants share."""

    generations: int = Int(3, 2, 5, source="ours", cost=True, help="networks trained in turn, the plain first one included")


@dataclass(frozen=True)
class BANParams(GenerationParams):
    """And how a generation learns from the one before."""

    label_weight: float = Float(1.0, 0.0, 1.0, source="paper", help="lambda of the labels beside the teacher: 1 is BAN+L, 0 is BAN")
    temperature: float = Float(1.0, 1.0, 4.0, log=True, source="paper", help="T, softens both distributions")


@dataclass(frozen=True)
class DKPPParams(BANParams):
    """The permuted form learns from its teacher alone: a control, which a tuner gives no labels."""

    label_weight: float = Float(0.0, 0.0, 1.0, source="paper", tune=False, help="lambda of the labels beside the permuted teacher")


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


class BAN:
    """Each generation matches its predecessor's distribution, and the labels."""

    extended: Mapping[str, str] = ROWS
    excluded: Mapping[str, str] = {}

    def __init__(self, name: str, title: str, equations: str, parameters: type[GenerationParams]):
        self.method = Method(
            name=name,
            title=title,
            paper=PAPER,
            equations=f"generation k: {equations}",
            extended=self.extended,
            excluded=self.excluded,
            Params=parameters,
            teachers=no_teachers,
            applies=self.applies,
        )

    def applies(self, card: TaskCard, params: GenerationParams) -> str | None:
        """Why it can't run on a task, or None."""
        if params.generations < 2:
            return f"it needs two generations at least, not {params.generations}"
        return None

    @hookimpl
    def schedule(self, params: GenerationParams) -> Sequence[Phase]:
        """A phase a generation."""
        return generations.phases(params.generations, lambda run, student: {})

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """CE of the first generation; of a later one what it takes of its teacher."""
        if step.run.teacher is NO_TEACHER:
            return {"ce": step.task.loss(step.student, step.targets)}
        return self.from_teacher(step)

    def from_teacher(self, step: Step) -> Mapping[str, Tensor]:
        """−T² Σ_c p_c^{k−1} ln p_c^k + λ · CE."""
        params = cast(BANParams, step.params)
        p_t = self.target(step, params.temperature)
        ban = (
            params.temperature**2
            * torch.stack([losses.soft_cross_entropy(p_t, z_s / params.temperature, mask) for z_s, mask in step.task.exit_rows(step.student)]).sum()
        )
        return {"ban": ban, "ce": params.label_weight * step.task.loss(step.student, step.targets)}

    def target(self, step: Step, temperature: float) -> Tensor:
        """p^{k−1} [P, C]."""
        z_t, _ = step.task.rows(generations.predecessor(step))
        return torch.softmax(z_t / temperature, dim=1)


class CWTM(BAN):
    """The teacher only weights the labels, by its confidence."""

    extended: Mapping[str, str] = {}
    excluded = dict.fromkeys(("segmentation", "text", "speech"), "it is stated for the images of a batch")

    def from_teacher(self, step: Step) -> Mapping[str, Tensor]:
        """Σ_b w_b · CE_b."""
        weights = teacher_confidence_weights(self.target(step, 1.0))
        return {
            "cwtm": torch.stack(
                [(weights * functional.cross_entropy(z_s, step.targets, reduction="none")).sum() for z_s, _ in step.task.exit_rows(step.student)]
            ).sum()
        }


class DKPP(BAN):
    """All of the teacher's probabilities but the largest are permuted at random."""

    def target(self, step: Step, temperature: float) -> Tensor:
        """p^{k−1} [P, C] with its dark knowledge permuted."""
        return permuted_dark_knowledge(super().target(step, temperature), step.run.generator)


variants = (
    BAN(
        "ban",
        "born-again networks: generations of one architecture, each the teacher of the next",
        "L = -T^2 sum_c p_c^(k-1) ln p_c^k + lambda CE(y, z^k)",
        BANParams,
    ),
    CWTM(
        "ban-cwtm",
        "born-again networks that take their teacher's confidence alone, as weights of the labels",
        "L = sum_b w_b CE(y_b, z_b^k), w_b = max_c p_(b,c)^(k-1) over its sum in the batch",
        GenerationParams,
    ),
    DKPP(
        "ban-dkpp",
        "born-again networks whose teacher's dark knowledge is permuted",
        "as ban, with all entries of p^(k-1) but the largest permuted at random",
        DKPPParams,
    ),
)
