"""pFEED: an ensemble of N teachers distilled in parallel, at feature level.

Park, Kwak: "FEED: Feature-level Ensemble for Knowledge Distillation", 2019, https://arxiv.org/abs/1909.10754

x^T_n: last map of teacher n [B, C_T, H, W]; x^S: student's [B, C_S, H, W]; s: student's logits; y: labels; NTL_n: a non-linear
transformation of three 3 × 3 convolutions, C_S to C_T channels.

    L_student = CE(y, softmax(s)) + β Σ_{n=1..N} L_FEED_n
    L_FEED_n = ‖ x^T_n / ‖x^T_n‖₂ − NTL_n(x^S) / ‖NTL_n(x^S)‖₂ ‖₁

Each sample is normalised over all entries of its map. Each teacher has an NTL of its own, trained along with the student and
thrown away. No logits of teachers.
"""

from dataclasses import dataclass

from torch import Tensor

from kdarena import Choice, Flag, Float, Int, Learner, Method, NotApplicable, Outputs, Paper, Params, Run, Step, Task, Terms, hookimpl, teacher_pool
from kdarena_feed.transformation import NTL, l_feed

PAPER = Paper("FEED: Feature-level Ensemble for Knowledge Distillation", "arXiv", 2019, "https://arxiv.org/abs/1909.10754")

EXTENDED = {
    "segmentation": "x is the last map before the score map",
    "text": "x is the last layer's states as a map of one column",
    "speech": "x is the encoder's last states as a map of one column",
}


@dataclass(frozen=True)
class FEEDParams(Params):
    """What both variants share."""

    beta: float = Float(
        500.0, 10.0, 3000.0, least=0, log=True, source="ours", help="weight of each L_FEED_n; that of factor transfer's code, for the mean form"
    )
    reduction: str = Choice("mean", ("mean", "sum"), source="ours", help="L1 as mean (factor transfer's code) or sum (as printed) over the entries of a map")
    last_activation: bool = Flag(True, source="ours", cost=True, help="LeakyReLU after an NTL's last convolution, as factor transfer's translator")
    batch_norm: bool = Flag(False, source="ours", cost=True, help="batch norm in an NTL, instead of biases; factor transfer's translator has none")
    width: float = Float(1.0, 0.5, 1.0, above=0, source="ours", cost=True, help="of an NTL's inner maps, in C_T")

    def new_ntl(self, channels: int, teacher_channels: int) -> NTL:
        """An NTL with these settings."""
        return NTL(channels, teacher_channels, self.last_activation, self.width, self.batch_norm)

    def term(self, step: Step, ntl: NTL, teacher: Outputs) -> Tensor:
        """β · L_FEED_n of the student through an NTL."""
        tokens = step.student.tokens
        transformed = step.apply(ntl, step.student.feature_map, *(() if tokens is None else (tokens,)))
        return self.beta * l_feed(teacher.feature_map, transformed, self.reduction, tokens)


@dataclass(frozen=True)
class PFEEDParams(FEEDParams):
    """And the teachers."""

    teachers: int = Int(3, 1, 5, least=1, source="ours", cost=True, help="N, teachers trained from different seeds")
    architecture: str = Choice(
        "teacher", ("teacher", "student"), source="ours", cost=True, help="of the teachers; we recall, unconfirmed, the student's in the paper's main tables"
    )


class PFEED:
    """The student's map, through one transformation a teacher, matches the direction of each teacher's map.

    Attributes:
        ntls: the transformation of each teacher.
    """

    method = Method(
        "pfeed",
        "parallel feature-level ensemble of N teachers, one non-linear transformation each",
        PAPER,
        extended=EXTENDED,
        Params=PFEEDParams,
        requires=("class scores", "feature maps"),
        teachers=lambda card, params: teacher_pool(params.teachers, params.architecture),
    )
    params: PFEEDParams

    def __init__(self) -> None:
        self.ntls: list[NTL] = []

    @hookimpl
    def build_student(self, task: Task, run: Run) -> Learner:
        """The student and an NTL for each teacher."""
        student = run.new_student()
        channels, *grid = task.shapes(student).feature_map
        for n, teacher in enumerate(run.teacher_modules()):
            teacher_channels, *teacher_grid = task.shapes(teacher).feature_map
            if grid != teacher_grid:
                raise NotApplicable(f"the student's last map has grid {grid}, teacher {n}'s {teacher_grid}; an NTL keeps the grid, so both have to agree")
            self.ntls.append(self.params.new_ntl(channels, teacher_channels).to(task.device))
        return Learner(student, {f"ntl{n}": ntl for n, ntl in enumerate(self.ntls)})

    @hookimpl
    def loss(self, step: Step) -> Terms:
        """CE and β · L_FEED_n of each teacher."""
        terms = {"ce": step.task.loss(step.student, step.targets)}
        for n, (ntl, teacher) in enumerate(zip(self.ntls, step.teachers, strict=True)):
            terms[f"feed{n}"] = self.params.term(step, ntl, teacher)
        return terms
