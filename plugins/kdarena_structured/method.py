"""Structured distillation: ``structured-pi`` (pixel-wise), ``structured-pi-pa`` (and pair-wise), ``structured`` (and holistic).

Liu, Shu, Wang, Shen: "Structured Knowledge Distillation for Dense Prediction", TPAMI 2020, https://arxiv.org/abs/1903.04197
(CVPR 2019: "Structured Knowledge Distillation for Semantic Segmentation")

Q: score map [B, C, H', W'], q_i: distribution over classes of its pixel i [C]; f_i: node i of a feature map, a patch of β pixels
pooled [C']; R': its n nodes; N(i): the α nodes nearest to i on the grid, i itself among them; I: the image, scaled to the score map
[B, 3, H', W']; D: the critic [B], high for the teacher's; s student, t teacher; ℓ_mc: the task's loss. All means also over the batch.

Of a detector (all of it ours): q_i is the Bernoulli distribution of one class at one place of the pyramid's score maps, whose scores are sigmoids;
the mean over i has the weights w_i, the teacher's largest score at the place; ℓ_pa is the mean over the pyramid's maps; Q is the score maps of all
levels at the size of the finest, one behind the other, so that one critic sees all of them.

    ℓ_pi = mean over pixels of −Σ_c q_ic^t ln q_ic^s  (KL(q_i^t ‖ q_i^s) and the teacher's entropy)
    a_ij = f_iᵀ f_j / (‖f_i‖ ‖f_j‖);  ℓ_pa = 1 / (n α) Σ_{i∈R'} Σ_{j∈N(i)} (a_ij^s − a_ij^t)²
    ℓ_ho = E D(Q^s | I) − E D(Q^t | I)
    penalty = E (‖∇_x̂ D(x̂ | I)‖₂ − 1)²,  x̂ = u Q^t + (1 − u) Q^s,  u ~ U(0, 1) for each sample

    student: min_S  ℓ_mc + λ_pi ℓ_pi + λ_pa ℓ_pa − λ_d E D(Q^s | I)
    critic:  min_D  λ_d (ℓ_ho + λ_gp · penalty)
    critic with hinge:  min_D  λ_d (E max(0, 1 − D(Q^t | I)) + E max(0, 1 + D(Q^s | I)))

``structured-pi`` has the first two terms of the student, ``structured-pi-pa`` the first three. n = W'H'/β, so that
1 / (n α) = β / (W'H' α); the paper prints the inverse, which is no mean. Student and critic step jointly: one forward pass of the
student, each against the other as it was before the step. Where the task predicts values (depth), ℓ_pi is dropped.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdarena import (
    Learner,
    Method,
    NotApplicable,
    Outputs,
    Paper,
    Phase,
    Run,
    Step,
    Task,
    TaskCard,
    Terms,
    Update,
    hookimpl,
    losses,
)
from kdarena_structured.critic import Critic, fitted_width
from kdarena_structured.holistic import gradient_penalty, hinge, l_ho, scaled, seen_scores, whole
from kdarena_structured.pair_wise import grid, neighbours, nodes, pair_wise, same_grid
from kdarena_structured.params import PairParams, PixelParams, StructuredParams

PAPER = Paper("Structured Knowledge Distillation for Dense Prediction", "TPAMI", 2020, "https://arxiv.org/abs/1903.04197")
POOLED = "psp"
"""The map behind a pyramid of pooled maps."""
LEVEL = re.compile(r"p[1-9]")
"""A map of a feature pyramid, by its level."""
NO_MAP = "it distils score maps, and the task has one prediction a sample"
EXCLUDED = dict.fromkeys(("classification", "text", "speech"), NO_MAP)


def pixel_wise(q_s: Tensor, q_t: Tensor, target: str = "teacher", mask: Tensor | None = None) -> Tensor:
    """ℓ_pi of scores [P, C]: with the teacher first the cross-entropy, with the student first KL(q^s ‖ q^t)."""
    if target == "student":
        return losses.kl(q_s, q_t, 1.0, mask)
    return losses.soft_cross_entropy(q_t.float().softmax(dim=1), q_s, mask)


def compared(maps: Iterable[str]) -> list[str]:
    """The maps whose places are compared, of those by name: every level of a feature pyramid, else behind the pooled maps, else the last."""
    names = list(maps)
    return [name for name in names if LEVEL.fullmatch(name)] or [POOLED if POOLED in names else names[-1]]


def _crop(run: Run) -> Tensor:
    """An image [1, 3, H, W] as it is trained on, which may be smaller than those that are scored."""
    return next(run.batches("augmented")).inputs[:1]


def _applies_with_critic(card: TaskCard, params: StructuredParams) -> str | None:
    if params.scores == "softmax" and card.output == "values":
        return "scores=softmax: the task predicts values, of which there is no distribution; leave scores=logits"
    if params.scores == "softmax" and card.track == "detection":
        return "scores=softmax: a detector's scores are no distribution over classes; leave scores=logits"
    return None


class PixelWise:
    """Each pixel is a sample of distillation."""

    params: PixelParams
    method = Method(
        "structured-pi",
        "pixel-wise distillation of the score map",
        PAPER,
        tracks=("segmentation", "detection"),
        excluded=EXCLUDED,
        Params=PixelParams,
    )

    @hookimpl
    def build_student(self, task: Task, teacher: nn.Module, run: Run) -> Learner:
        """The student alone, which has to have score maps of the teacher's shape."""
        student = run.new_student()
        of_student, of_teacher = task.shapes(student).logits, task.shapes(teacher).logits
        if of_student != of_teacher:
            raise NotApplicable(f"it compares score maps of one shape; the student's is {list(of_student)}, the teacher's {list(of_teacher)}")
        return Learner(student)

    @hookimpl
    def loss(self, step: Step) -> Terms:
        """ℓ_mc, and ℓ_pi where the task has classes."""
        terms = {"mc": step.task.loss(step.student, step.targets)}
        if step.task.card.output == "classes":
            (q_s, _), (q_t, mask) = step.task.rows(step.student), step.task.rows(step.teacher)
            terms["pi"] = self.params.lambda_pi * pixel_wise(q_s, q_t, self.params.target, mask if self.params.places == "weighted" else None)
        return terms


class PixelPairWise(PixelWise):
    """And the similarities of all pairs of places match.

    Attributes:
        neighbours: N of a grid of nodes by its height and width, made once a run.
        compared: names of the teacher's maps whose places are compared.
    """

    params: PairParams
    method = Method(
        "structured-pi-pa",
        "pixel-wise distillation, and pair-wise similarities of a feature map's places",
        PAPER,
        tracks=("segmentation", "detection"),
        excluded=EXCLUDED,
        Params=PairParams,
        requires=("feature maps",),
    )

    def __init__(self) -> None:
        self.neighbours: dict[tuple[int, int], Tensor] = {}
        self.compared: list[str] = []

    @hookimpl
    def build_student(self, task: Task, teacher: nn.Module, run: Run) -> Learner:
        """The student alone; maps of one node are refused, since nothing could be compared."""
        learner: Learner = super().build_student(task, teacher, run)
        with torch.no_grad():
            features = task.forward(teacher, _crop(run)).features
        sizes = {name: (features[name].shape[2], features[name].shape[3]) for name in compared(features)}
        # a map of one node says nothing
        self.compared = self.levels([name for name, size in sizes.items() if grid(size, self.params.patch) != (1, 1)])
        if not self.compared:
            height, width = max(sizes.values())
            raise NotApplicable(f"patch={self.params.patch} makes one node of a map of {height} x {width}; take a smaller patch")
        return learner

    @hookimpl
    def loss(self, step: Step) -> Terms:
        """ℓ_mc, ℓ_pi and ℓ_pa."""
        l_pa = torch.stack([self._l_pa(step.student.features[ours], step.teacher.features[theirs]) for ours, theirs in self._pairs(step)]).mean()
        return {**super().loss(step), "pa": self.params.lambda_pa * l_pa}

    def levels(self, maps: list[Any]) -> list[Any]:
        """Of maps, fine to coarse, those that are looked at."""
        return maps[:1] if self.params.levels == "finest" else maps

    def _pairs(self, step: Step) -> list[tuple[str, str]]:
        """Names of the maps of student and teacher that are compared."""
        ours = compared(step.student.features)
        return [(name if name in ours else ours[-1], name) for name in self.compared]

    def _l_pa(self, of_student: Tensor, of_teacher: Tensor) -> Tensor:
        f_s, f_t = (nodes(feature_map, self.params.patch, self.params.pool) for feature_map in same_grid(of_student, of_teacher))
        return pair_wise(f_s, f_t, self._connected(f_s), self.params.norm)

    def _connected(self, f: Tensor) -> Tensor | None:
        """N of the nodes' grid; None where all are connected."""
        height, width = f.shape[2:]
        if self.params.alpha == 0 or self.params.alpha >= height * width:
            return None
        if (height, width) not in self.neighbours:
            self.neighbours[height, width] = neighbours(height, width, self.params.alpha, f.device)
        return self.neighbours[height, width]


class Structured(PixelPairWise):
    """And the score map as a whole passes for the teacher's before a critic that sees the image.

    Attributes:
        critic: D.
    """

    params: StructuredParams
    critic: nn.Module
    method = Method(
        "structured",
        "pixel-wise, pair-wise and holistic distillation, the last by a conditional WGAN-GP critic",
        PAPER,
        tracks=("segmentation", "detection"),
        excluded=EXCLUDED,
        Params=StructuredParams,
        requires=("feature maps",),
        applies=_applies_with_critic,
    )

    @hookimpl
    def build_student(self, task: Task, teacher: nn.Module, run: Run) -> Learner:
        """The student and the critic of its score maps."""
        learner: Learner = super().build_student(task, teacher, run)
        image = _crop(run)
        with torch.no_grad():
            channels, height, width = whole(self.levels(task.score_maps(task.forward(teacher, image)))).shape[1:]
        if self.params.condition:
            channels += image.shape[1]
        self.critic = Critic(channels, (height, width), fitted_width(self.params.width, (height, width))).to(task.device)
        learner.helpers["critic"] = self.critic
        return learner

    @hookimpl
    def schedule(self) -> Sequence[Phase]:
        """One phase: student and critic step jointly, so that both see the same score maps and the same critic."""
        return [Phase("train", self._updates)]

    def _updates(self, run: Run) -> list[Update]:
        def optimizer(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
            if self.params.optimizer_d == "adam":
                return torch.optim.Adam(parameters, lr=self.params.lr_d, betas=(0.9, 0.99), fused=True)
            return torch.optim.SGD(parameters, lr=self.params.lr_d, momentum=0.9, weight_decay=run.recipe["weight_decay"])

        return [Update("student", run.learner.student.parameters()), Update("critic", self.critic.parameters(), optimizer)]

    @hookimpl
    def loss(self, step: Step) -> Terms:
        """The loss of the update whose turn it is."""
        return self._critics_loss(step) if step.update == "critic" else self._students_loss(step)

    def _students_loss(self, step: Step) -> Terms:
        q_s = self._scores(step, step.student)
        d_s = step.call_frozen(self.critic, q_s, *self._image(step, q_s))
        return {**super().loss(step), "ho": -self.params.lambda_d * d_s.mean()}

    def _critics_loss(self, step: Step) -> Terms:
        q_s, q_t = self._scores(step, step.student).detach(), self._scores(step, step.teacher)
        image = self._image(step, q_s)
        d_t, d_s = step.apply(self.critic, q_t, *image), step.apply(self.critic, q_s, *image)
        if self.params.adversarial == "hinge":
            return {"hinge": self.params.lambda_d * hinge(d_s, d_t)}
        u = torch.rand(len(q_s), generator=step.run.generator, device=q_s.device)
        penalty = gradient_penalty(lambda x_hat: step.apply(self.critic, x_hat, *image), q_s, q_t, u)
        return {"ho": self.params.lambda_d * l_ho(d_s, d_t), "gp": self.params.lambda_d * self.params.lambda_gp * penalty}

    def _scores(self, step: Step, outputs: Outputs) -> Tensor:
        return seen_scores(whole(self.levels(step.task.score_maps(outputs))), self.params.scores)

    def _image(self, step: Step, q: Tensor) -> tuple[Tensor, ...]:
        """I at the size of Q, or nothing where the critic is unconditional."""
        if not self.params.condition:
            return ()
        height, width = q.shape[2:]
        return (scaled(step.inputs, (height, width)),)
