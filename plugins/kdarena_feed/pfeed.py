"""pFEED: an ensemble of N teachers distilled in parallel, at feature level.

Park, Kwak: "FEED: Feature-level Ensemble for Knowledge Distillation", 2019, https://arxiv.org/abs/1909.10754

x^T_n: last map of teacher n [B, C_T, H, W]; x^S: student's [B, C_S, H, W]; s: student's logits.

    L_student = CE(y, softmax(s)) + β Σ_{n=1..N} L_FEED_n
    L_FEED_n = ‖ x^T_n / ‖x^T_n‖₂ − NTL_n(x^S) / ‖NTL_n(x^S)‖₂ ‖₁

Each teacher has an NTL of its own, trained along with the student and thrown away. No logits of teachers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from kdarena import Choice, Flag, Float, Int, Learner, Method, NotApplicable, Paper, Params, hookimpl, teacher_pool
from kdarena_feed.transformation import NTL, l_feed, real_positions

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kdarena import Outputs, Run, Step, Task, TaskCard

PAPER = Paper("FEED: Feature-level Ensemble for Knowledge Distillation", "arXiv", 2019, "https://arxiv.org/abs/1909.10754")

EXTENDED = {
    "segmentation": "x is the last map before the score map",
    "text": "x is the last layer's states as a map of one column",
    "speech": "x is the encoder's last states as a map of one column",
}


@dataclass(frozen=True)
class FEEDParams(Params):
    """What both variants share."""

    beta: float = Float(500.0, 10.0, 3000.0, log=True, source="ours", help="weight of each L_FEED_n; that of factor transfer's code, for the mean form")
    reduction: str = Choice("mean", ("mean", "sum"), source="ours", help="L1 as mean (factor transfer's code) or sum (as printed) over the entries of a map")
    last_activation: bool = Flag(True, source="ours", cost=True, help="LeakyReLU after an NTL's last convolution, as factor transfer's translator")
    batch_norm: bool = Flag(False, source="ours", cost=True, help="batch norm in an NTL, instead of biases; factor transfer's translator has none")
    width: float = Float(1.0, 0.5, 1.0, source="ours", cost=True, help="of an NTL's inner maps, in C_T")

    def new_ntl(self, channels: int, teacher_channels: int) -> NTL:
        """An NTL as these say."""
        return NTL(channels, teacher_channels, self.last_activation, self.width, self.batch_norm)

    def term(self, step: Step, ntl: nn.Module, teacher: Outputs) -> Tensor:
        """β · L_FEED_n of the student through an NTL."""
        real = real_positions(step.student)
        transformed = step.apply(ntl, step.student.feature_map, *(() if real is None else (real,)))
        return self.beta * l_feed(teacher.feature_map, transformed, self.reduction, real)


@dataclass(frozen=True)
class PFEEDParams(FEEDParams):
    """And the teachers."""

    teachers: int = Int(3, 1, 5, source="ours", cost=True, help="N, teachers trained from different seeds")
    architecture: str = Choice(
        "teacher", ("teacher", "student"), source="ours", cost=True, help="of the teachers; we recall, unconfirmed, the student's in the paper's main tables"
    )


def applies(card: TaskCard, params: FEEDParams) -> str | None:
    """Why it can't run on a task, or None."""
    if isinstance(params, PFEEDParams) and params.teachers < 1:
        return f"it needs a teacher at least, not {params.teachers}"
    return None if card.feature_maps else "its networks have no feature maps [B, C, H, W] to distil"


class PFEED:
    """The student's map, through one transformation a teacher, matches the direction of each teacher's map."""

    method = Method(
        name="pfeed",
        title="parallel feature-level ensemble of N teachers, one non-linear transformation each",
        paper=PAPER,
        equations="L = CE(y, s) + beta sum_n || x_n^T / ||x_n^T||_2 - NTL_n(x^S) / ||NTL_n(x^S)||_2 ||_1",
        extended=EXTENDED,
        Params=PFEEDParams,
        teachers=lambda card, params: teacher_pool(params.teachers, params.architecture),
        applies=applies,
    )

    @hookimpl
    def build_student(self, task: Task, params: PFEEDParams, run: Run) -> Learner:
        """The student and an NTL for each teacher."""
        student = run.new_student()
        channels, *grid = task.shapes(student).feature_map
        helpers = {}
        for n, teacher in enumerate(run.teacher_modules()):
            teacher_channels, *teacher_grid = task.shapes(teacher).feature_map
            if grid != teacher_grid:
                raise NotApplicable(f"the student's last map has grid {grid}, teacher {n}'s {teacher_grid}; an NTL keeps the grid, so both have to agree")
            helpers[f"ntl{n}"] = params.new_ntl(channels, teacher_channels).to(task.device)
        return Learner(student, dict(helpers))

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """CE and β · L_FEED_n of each teacher."""
        params = cast(PFEEDParams, step.params)
        terms = {"ce": step.task.loss(step.student, step.targets)}
        for n, teacher in enumerate(step.teachers):
            terms[f"feed{n}"] = params.term(step, step.learner.helpers[f"ntl{n}"], teacher)
        return terms
