"""BAN: born-again networks, a network distilled into a new one of its own architecture, generation after generation.

Furlanello, Lipton, Tschannen, Itti, Anandkumar: "Born-Again Neural Networks", ICML 2018, https://arxiv.org/abs/1805.04770

z^k: logits of generation k [P, C], p^k = softmax(z^k / T), T = 1; generation 0 is trained by the labels alone.

    L = −T² Σ_c p_c^{k−1} ln p_c^k + λ · CE(y, z^k)          λ = 0: BAN; λ = 1: BAN+L
    CWTM: L = Σ_b w_b · CE(y_b, z_b^k),  w_b = max_c p_{b,c}^{k−1} / Σ_u max_c p_{u,c}^{k−1}
    DKPP: as the first, with all entries of p^{k−1} but the largest permuted at random

All generations share the budget equally; the last is deployed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch.nn import functional

from kdarena import NO_TEACHER, Choice, Float, Int, Method, Paper, Params, Phase, hookimpl, losses, no_teachers
from kdarena_feed import generations

if TYPE_CHECKING:
    from torch import Tensor

    from kdarena import Step, TaskCard


@dataclass(frozen=True)
class BANParams(Params):
    """Generations, and how a generation learns from the one before."""

    generations: int = Int(3, 2, 5, source="ours", cost=True, help="networks trained in turn, the plain first one included")
    label_weight: float = Float(1.0, 0.0, 1.0, source="paper", help="lambda of the labels beside the teacher: 1 is BAN+L, 0 is BAN")
    temperature: float = Float(1.0, 1.0, 4.0, log=True, source="paper", help="T, softens both distributions")
    weighting: str = Choice(
        "none", ("none", "cwtm", "dkpp"), source="paper", help="cwtm: the teacher only weights the labels; dkpp: its dark knowledge is permuted"
    )


def applies(card: TaskCard, params: BANParams) -> str | None:
    """Why it can't run on a task, or None."""
    if params.weighting == "cwtm" and card.track != "classification":
        return "weighting=cwtm weights one label a sample, which only classification has"
    return None


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

    method = Method(
        name="ban",
        title="born-again networks: generations of one architecture, each the teacher of the next",
        paper=Paper("Born-Again Neural Networks", "ICML", 2018, "https://arxiv.org/abs/1805.04770"),
        equations="generation k: L = -T^2 sum_c p_c^(k-1) ln p_c^k + lambda CE(y, z^k)",
        Params=BANParams,
        teachers=no_teachers,
        applies=applies,
    )

    @hookimpl
    def schedule(self, params: BANParams) -> Sequence[Phase]:
        """A phase a generation."""
        return generations.phases(params.generations, lambda run, student: {})

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """CE of the first generation; of a later one what its weighting says."""
        params = cast(BANParams, step.params)
        if step.run.teacher is NO_TEACHER:
            return {"ce": step.task.loss(step.student, step.targets)}
        z_s, mask = step.task.rows(step.student, step.targets)
        z_t, _ = step.task.rows(step.teacher, step.targets)
        p_t = torch.softmax(z_t / params.temperature, dim=1)
        if params.weighting == "cwtm":
            return {"cwtm": (teacher_confidence_weights(p_t) * functional.cross_entropy(z_s, step.targets, reduction="none")).sum()}
        if params.weighting == "dkpp":
            p_t = permuted_dark_knowledge(p_t, step.run.generator)
        ban = params.temperature**2 * losses.soft_cross_entropy(p_t, z_s / params.temperature, mask)
        return {"ban": ban, "ce": params.label_weight * step.task.loss(step.student, step.targets)}
