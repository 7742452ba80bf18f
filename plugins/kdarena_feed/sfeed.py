"""sFEED: one network that teaches its successor, generation after generation, at feature level.

Park, Kwak: "FEED: Feature-level Ensemble for Knowledge Distillation", 2019, https://arxiv.org/abs/1909.10754

s: logits of the student of a generation; y: labels; x^T: last map of the network of generation k − 1, frozen; x^S: of a new one of the
same architecture, both [B, C, H, W]; NTL_k: a non-linear transformation of three 3 × 3 convolutions, new in each generation.

    generation 0: L = CE(y, softmax(s))
    generation k: L = CE(y, softmax(s)) + β · ‖ x^T / ‖x^T‖₂ − NTL_k(x^S) / ‖NTL_k(x^S)‖₂ ‖₁

Each sample is normalised over all entries of its map. All generations share the budget equally; the last is deployed.
"""

from dataclasses import dataclass

from torch import nn

from kdarena import NO_TEACHER, Method, Run, Step, Terms, hookimpl, no_teachers
from kdarena_feed.generations import GenerationParams, Generations
from kdarena_feed.pfeed import EXTENDED, PAPER, FEEDParams
from kdarena_feed.transformation import NTL


@dataclass(frozen=True)
class SFEEDParams(GenerationParams, FEEDParams):
    """Those of FEED, and the number of generations."""


class SFEED(Generations):
    """Each generation's map, transformed, matches the direction of its predecessor's.

    Attributes:
        ntl: the transformation of the generation that is trained.
    """

    method = Method(
        "sfeed",
        "sequential feature-level distillation of a network into its successor",
        PAPER,
        extended=EXTENDED,
        Params=SFEEDParams,
        requires=("class scores", "feature maps"),
        teachers=no_teachers,
    )
    params: SFEEDParams
    ntl: NTL

    def new_helpers(self, run: Run, student: nn.Module) -> dict[str, nn.Module]:
        """A transformation of its own for each generation."""
        channels = run.task.shapes(student).feature_map[0]
        self.ntl = self.params.new_ntl(channels, channels).to(run.task.device)
        return {"ntl": self.ntl}

    @hookimpl
    def loss(self, step: Step) -> Terms:
        """CE, and from the first generation after the plain one β · L_FEED."""
        terms = {"ce": step.task.loss(step.student, step.targets)}
        if step.run.teacher is not NO_TEACHER:
            terms["feed"] = self.params.term(step, self.ntl, self.predecessor(step))
        return terms
