"""The three rows: ``structured-pi`` (pixel-wise), ``structured-pi-pa`` (and pair-wise), ``structured`` (and holistic).

Liu, Shu, Wang, Shen: "Structured Knowledge Distillation for Dense Prediction", TPAMI 2020, https://arxiv.org/abs/1903.04197
(CVPR 2019: "Structured Knowledge Distillation for Semantic Segmentation")

q_i: distribution over classes of pixel i of the score map; ℓ_mc: the task's loss.

    ℓ_pi = mean over pixels of −Σ_c q_ic^t ln q_ic^s  (KL(q_i^t ‖ q_i^s) and the teacher's entropy)
    ℓ_pa: ``pair_wise.py``;  ℓ_ho: ``holistic.py``
    student: min_S  ℓ_mc + λ_pi ℓ_pi + λ_pa ℓ_pa − λ_d E D(Q^s | I)
    critic:  min_D  λ_d (ℓ_ho + λ_gp · penalty)

Student and critic step jointly: one forward pass of the student, each against the other as it was before the step.
Where the task predicts values (depth), ℓ_pi is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import torch

from kdarena import Choice, Flag, Float, Int, Learner, Method, NotApplicable, Paper, Params, Phase, Update, hookimpl, losses
from kdarena_structured.critic import Critic, fitted_width
from kdarena_structured.holistic import gradient_penalty, hinge, l_ho, scaled, seen_scores
from kdarena_structured.pair_wise import grid, neighbours, nodes, pair_wise, same_grid

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kdarena import Outputs, Run, Step, Task, TaskCard

PAPER = Paper("Structured Knowledge Distillation for Dense Prediction", "TPAMI", 2020, "https://arxiv.org/abs/1903.04197")
PYRAMID = "psp"
NO_MAP = "it distils score maps, and here a network gives no scores by place of an image"
EXCLUDED = dict.fromkeys(("classification", "text", "speech"), NO_MAP)


@dataclass(frozen=True)
class PixelParams(Params):
    """Of the pixel-wise loss."""

    lambda_pi: float = Float(
        10.0, 0.5, 100.0, log=True, source="paper", help="weight of l_pi, a mean over the batch (the code's 10, of a sum over 8 images, is 80)"
    )
    target: str = Choice("teacher", ("teacher", "student"), source="code", help="first argument of KL: the teacher's q (code), or the student's as printed")


@dataclass(frozen=True)
class PairParams(PixelParams):
    """Of the pair-wise loss besides."""

    lambda_pa: float = Float(0.5, 0.1, 20.0, log=True, source="code", help="weight of l_pa")
    pool: str = Choice("avg", ("avg", "max"), source="paper", help="how the pixels of a patch become a node")
    patch: int = Int(2, 1, 32, log=True, cost=True, source="paper", help="side of a patch; beta is its square")
    alpha: int = Int(0, 0, 256, cost=True, tune=False, source="paper", help="connections of a node: to itself and the nearest on the grid; 0: to all")
    norm: str = Choice("cosine", ("cosine", "detached"), source="paper", help="gradient through the norms of f, or not (code)")


@dataclass(frozen=True)
class StructuredParams(PairParams):
    """Of the holistic loss besides."""

    lambda_d: float = Float(0.1, 1e-3, 1.0, log=True, source="paper", help="weight of the critic, on its own turn and on the student's")
    lambda_gp: float = Float(10.0, 1.0, 100.0, log=True, source="code", help="of the gradient penalty, within lambda_d")
    lr_d: float = Float(4e-4, 1e-4, 1e-3, log=True, source="code", help="of the critic's optimiser")
    optimizer_d: str = Choice("sgd", ("sgd", "adam"), source="code", help="SGD with momentum 0.9, or Adam with betas 0.9 and 0.99")
    adversarial: str = Choice("wgan-gp", ("wgan-gp", "hinge"), source="paper", cost=True, help="the critic's loss")
    condition: bool = Flag(True, source="paper", cost=True, help="whether the critic sees the image")
    scores: str = Choice("logits", ("logits", "softmax"), source="code", help="what the critic sees of a score map")
    width: int = Int(
        64, 8, 128, log=True, cost=True, source="code", help="channels of the critic's first convolution on maps of 64 and more, fewer on smaller ones"
    )


def pixel_wise(q_s: Tensor, q_t: Tensor, target: str = "teacher", mask: Tensor | None = None) -> Tensor:
    """ℓ_pi of scores [P, C]: with the teacher first the cross-entropy, with the student first KL(q^s ‖ q^t)."""
    if target == "student":
        return losses.kl(q_s, q_t, 1.0, mask)
    return losses.soft_cross_entropy(q_t.float().softmax(dim=1), q_s, mask)


def compared(maps: Iterable[str]) -> str:
    """The map whose places are compared, of those by name: behind the pyramid where there is one, else the last."""
    names = list(maps)
    return PYRAMID if PYRAMID in names else names[-1]


def _crop(task: Task, run: Run) -> Tensor:
    """An image [1, 3, H, W] as it is trained on, which may be smaller than those that are scored."""
    return next(task.batches(run.split, "augmented")).inputs[:1]


def _connected(run: Run, f: Tensor, alpha: int) -> Tensor | None:
    """N of the nodes' grid, made once a run; None where all are connected."""
    height, width = f.shape[2:]
    if alpha == 0 or alpha >= height * width:
        return None
    kept: dict[tuple[int, int], Tensor] = run.store.setdefault("neighbours", {})
    if (height, width) not in kept:
        kept[height, width] = neighbours(height, width, alpha, f.device)
    return kept[height, width]


def _applies_to_pixels(card: TaskCard, params: PixelParams) -> str | None:
    return "it distils distributions over classes, and the task predicts values" if card.output == "values" else None


def _applies_to_pairs(card: TaskCard, params: PairParams) -> str | None:
    if params.patch < 1:
        return f"patch={params.patch}: a patch has a side of at least one pixel"
    if params.alpha < 0 or params.alpha == 1:
        return f"alpha={params.alpha}: a node is connected to itself and at least one other, or to all (0)"
    return None if card.feature_maps else "it compares places of feature maps [B, C, H, W], which the task's networks do not have"


def _applies_with_critic(card: TaskCard, params: StructuredParams) -> str | None:
    if params.width < 8:
        return f"width={params.width}: the critic's self-attention needs at least 8 channels in the first convolution"
    if params.scores == "softmax" and card.output == "values":
        return "scores=softmax: the task predicts values, of which there is no distribution; leave scores=logits"
    return _applies_to_pairs(card, params)


class PixelWise:
    """Each pixel is a sample of distillation."""

    method = Method(
        name="structured-pi",
        title="pixel-wise distillation of the score map",
        paper=PAPER,
        equations="L = l_mc + lambda_pi mean_i CE(q_i^t, q_i^s)",
        tracks=("segmentation",),
        excluded=EXCLUDED,
        Params=PixelParams,
        applies=_applies_to_pixels,
    )

    @hookimpl
    def build_student(self, task: Task, teacher: nn.Module, params: PixelParams, run: Run) -> Learner:
        """The student alone, which has to have score maps of the teacher's shape."""
        student = run.new_student()
        ours, theirs = task.shapes(student).logits, task.shapes(teacher).logits
        if ours != theirs:
            raise NotApplicable(f"it compares score maps of one shape; the student's is {list(ours)}, the teacher's {list(theirs)}")
        return Learner(student)

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """ℓ_mc, and ℓ_pi where the task has classes."""
        params = cast(PixelParams, step.params)
        terms = {"mc": step.task.loss(step.student, step.targets)}
        if step.task.card.output == "classes":
            q_s, mask = step.task.rows(step.student)
            q_t, _ = step.task.rows(step.teacher)
            terms["pi"] = params.lambda_pi * pixel_wise(q_s, q_t, params.target, mask)
        return terms


class PixelPairWise(PixelWise):
    """And the similarities of all pairs of places match."""

    method = Method(
        name="structured-pi-pa",
        title="pixel-wise distillation, and pair-wise similarities of a feature map's places",
        paper=PAPER,
        equations="L = l_mc + lambda_pi l_pi + lambda_pa / (n alpha) sum_ij (a_ij^s - a_ij^t)^2, a_ij the cosine of nodes i and j",
        tracks=("segmentation",),
        excluded=EXCLUDED,
        outputs=("classes", "values"),
        Params=PairParams,
        applies=_applies_to_pairs,
    )

    @hookimpl
    def build_student(self, task: Task, teacher: nn.Module, params: PixelParams, run: Run) -> Learner:
        """The student alone; maps of one node are refused, since nothing could be compared."""
        learner: Learner = super().build_student(task, teacher, params, run)
        patch = cast(PairParams, params).patch
        with torch.no_grad():
            features = task.forward(teacher, _crop(task, run)).features
        height, width = features[compared(features)].shape[2:]
        if grid((height, width), patch) == (1, 1):
            raise NotApplicable(f"patch={patch} makes one node of a map of {height} x {width}; take a smaller patch")
        return learner

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """ℓ_mc, ℓ_pi and ℓ_pa."""
        params = cast(PairParams, step.params)
        ours, theirs = step.student.features, step.teacher.features
        maps = same_grid(ours[compared(ours)], theirs[compared(theirs)])
        f_s, f_t = (nodes(one, params.patch, cast(Literal["avg", "max"], params.pool)) for one in maps)
        l_pa = pair_wise(f_s, f_t, _connected(step.run, f_s, params.alpha), cast(Literal["cosine", "detached"], params.norm))
        return {**super().loss(step), "pa": params.lambda_pa * l_pa}


class Structured(PixelPairWise):
    """And the score map as a whole passes for the teacher's before a critic that sees the image."""

    method = Method(
        name="structured",
        title="pixel-wise, pair-wise and holistic distillation, the last by a conditional WGAN-GP critic",
        paper=PAPER,
        equations="L = l_mc + lambda_pi l_pi + lambda_pa l_pa - lambda_d E D(Q^s|I); D minimises lambda_d (E D(Q^s|I) - E D(Q^t|I) + lambda_gp penalty)",
        tracks=("segmentation",),
        excluded=EXCLUDED,
        outputs=("classes", "values"),
        Params=StructuredParams,
        applies=_applies_with_critic,
    )

    @hookimpl
    def build_student(self, task: Task, teacher: nn.Module, params: PixelParams, run: Run) -> Learner:
        """The student and the critic of its score maps."""
        learner: Learner = super().build_student(task, teacher, params, run)
        image = _crop(task, run)
        with torch.no_grad():
            _, channels, height, width = task.forward(teacher, image).logits.shape
        holistic = cast(StructuredParams, params)
        if holistic.condition:
            channels += image.shape[1]
        learner.helpers["critic"] = Critic(channels, (height, width), fitted_width(holistic.width, (height, width))).to(task.device)
        return learner

    @hookimpl
    def schedule(self, params: StructuredParams) -> Sequence[Phase]:
        """One phase: student and critic step jointly, so that both see the same score maps and the same critic."""

        def updates(run: Run) -> list[Update]:
            weight_decay = run.recipe["weight_decay"]

            def optimizer(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
                if params.optimizer_d == "adam":
                    return torch.optim.Adam(parameters, lr=params.lr_d, betas=(0.9, 0.99), fused=True)
                return torch.optim.SGD(parameters, lr=params.lr_d, momentum=0.9, weight_decay=weight_decay)

            critic = run.learner.helpers["critic"]
            return [Update("student", run.learner.student.parameters()), Update("critic", critic.parameters(), optimizer)]

        return [Phase("train", updates)]

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """The loss of the update whose turn it is."""
        return self._critic(step) if step.update == "critic" else self._student(step)

    def _student(self, step: Step) -> dict[str, Tensor]:
        params = cast(StructuredParams, step.params)
        q_s, image = self._scores(step, step.student), self._image(step)
        d_s = step.call_frozen(step.learner.helpers["critic"], q_s, *image)
        return {**super().loss(step), "ho": -params.lambda_d * d_s.mean()}

    def _critic(self, step: Step) -> dict[str, Tensor]:
        params, critic = cast(StructuredParams, step.params), step.learner.helpers["critic"]
        q_s, q_t, image = self._scores(step, step.student).detach(), self._scores(step, step.teacher), self._image(step)
        d_t, d_s = step.apply(critic, q_t, *image), step.apply(critic, q_s, *image)
        if params.adversarial == "hinge":
            return {"hinge": params.lambda_d * hinge(d_s, d_t)}
        u = torch.rand(len(q_s), generator=step.run.generator, device=q_s.device)
        penalty = gradient_penalty(lambda x_hat: step.apply(critic, x_hat, *image), q_s, q_t, u)
        return {"ho": params.lambda_d * l_ho(d_s, d_t), "gp": params.lambda_d * params.lambda_gp * penalty}

    @staticmethod
    def _scores(step: Step, outputs: Outputs) -> Tensor:
        params = cast(StructuredParams, step.params)
        return seen_scores(outputs.logits, cast(Literal["logits", "softmax"], params.scores))

    @staticmethod
    def _image(step: Step) -> tuple[Tensor, ...]:
        """I at the score map's size, or nothing where the critic is unconditional."""
        if not cast(StructuredParams, step.params).condition:
            return ()
        height, width = step.student.logits.shape[2:]
        return (scaled(step.inputs, (height, width)),)
