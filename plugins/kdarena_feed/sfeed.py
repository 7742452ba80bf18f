"""sFEED: one network that teaches its successor, generation after generation, at feature level.

Park, Kwak: "FEED: Feature-level Ensemble for Knowledge Distillation", 2019, https://arxiv.org/abs/1909.10754

    generation 0: L = CE(y, softmax(s))
    generation k: L = CE(y, softmax(s)) + β · ‖ x^T / ‖x^T‖₂ − NTL_k(x^S) / ‖NTL_k(x^S)‖₂ ‖₁

x^T: last map of the network of generation k − 1, frozen; x^S: of a new one of the same architecture, both [B, C, H, W].
All generations share the budget equally; the last is deployed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from kdarena import NO_TEACHER, Int, Method, Phase, hookimpl, no_teachers
from kdarena_feed import generations
from kdarena_feed.pfeed import EXTENDED, PAPER, FEEDParams, applies

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kdarena import Run, Step


@dataclass(frozen=True)
class SFEEDParams(FEEDParams):
    """And the number of generations."""

    generations: int = Int(3, 2, 5, source="ours", cost=True, help="networks trained in turn, the plain first one included")


class SFEED:
    """Each generation's map, transformed, matches the direction of its predecessor's."""

    method = Method(
        name="sfeed",
        title="sequential feature-level distillation of a network into its successor",
        paper=PAPER,
        equations="generation k: L = CE(y, s) + beta || x^T / ||x^T||_2 - NTL_k(x^S) / ||NTL_k(x^S)||_2 ||_1, x^T of generation k - 1",
        extended=EXTENDED,
        Params=SFEEDParams,
        teachers=no_teachers,
        applies=lambda card, params: f"it needs two generations at least, not {params.generations}" if params.generations < 2 else applies(card, params),
    )

    @hookimpl
    def schedule(self, params: SFEEDParams) -> Sequence[Phase]:
        """A phase a generation."""

        def new_ntl(run: Run, student: nn.Module) -> dict[str, nn.Module]:
            channels = run.task.shapes(student).feature_map[0]
            return {"ntl": params.new_ntl(channels, channels).to(run.task.device)}

        return generations.phases(params.generations, new_ntl)

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """CE, and from the first generation after the plain one β · L_FEED."""
        params = cast(SFEEDParams, step.params)
        terms = {"ce": step.task.loss(step.student, step.targets)}
        if step.run.teacher is not NO_TEACHER:
            terms["feed"] = params.term(step, step.learner.helpers["ntl"], generations.predecessor(step))
        return terms
