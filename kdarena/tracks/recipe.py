"""A recipe: how a task trains a network, with the optimiser and the learning-rate curve that follow from it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from kdarena.params import COMMON, Source, Tunable

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

POLY_POWER = 0.9
"""Of the poly decay that dense prediction uses (Chen et al. 2017, arXiv 1606.00915)."""


@dataclass(frozen=True)
class Recipe:
    """How a task trains a network.

    Attributes:
        lr, weight_decay: the common hyper-parameters, tuned alike for every method.
        momentum, nesterov, batch_size: fixed.
        optimizer: SGD with momentum, Adam or AdamW.
        decay: how the learning rate falls over the schedule: in ``steps`` (multiplied by ``gamma`` at each of the fractions
            ``milestones``), ``poly`` ((1 − progress) to the power of 0.9), ``linear`` or by a ``cosine`` to zero.
        clip: largest norm of the gradient of an update that brings no optimiser of its own, or None.
        warmup: fraction of the schedule over which the learning rate rises linearly from zero.
        teacher_epochs: epochs of a teacher's training.
        student_epochs: student-epochs of a run's full schedule: what a planner gives a run when time allows.
        teacher_lr: learning rate of the training of a teacher of another architecture than the student's, where it is not ``lr``.
        smoothing: part of a label that is spread over all classes (Szegedy et al. 2016, arXiv 1512.00567).
        mixup, cutmix: α of the Beta distribution of the parts of two images that are mixed (Zhang et al. 2018, arXiv 1710.09412; Yun et al. 2019,
            arXiv 1905.04899); 0: not so. Where both are on, each image is mixed one way or the other with the same probability.
        erasing: probability that a box of an image is erased.
        averaged: part of a run over which the student's weights are averaged, exponentially, for what is scored and exported; 0: its last weights are.
        source: who says so: the papers of the task, or ourselves.
    """

    lr: float
    weight_decay: float
    momentum: float
    batch_size: int
    teacher_epochs: float
    milestones: tuple[float, ...] = ()
    gamma: float = 0.1
    student_epochs: float = 240.0
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    decay: Literal["steps", "poly", "linear", "cosine"] = "steps"
    clip: float | None = None
    nesterov: bool = False
    warmup: float = 0.0
    teacher_lr: float | None = None
    smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    erasing: float = 0.0
    averaged: float = 0.0
    source: Source = "paper"

    @property
    def mixes(self) -> bool:
        """Whether batches are changed in a way that no number names: by mixing or erasing."""
        return self.mixup > 0 or self.cutmix > 0 or self.erasing > 0

    @property
    def cut_part(self) -> float:
        """Part of the images that are mixed by cutmix."""
        return 0.0 if self.cutmix == 0 else 1.0 if self.mixup == 0 else 0.5

    def hyperparameters(self) -> dict[str, Tunable]:
        """The common hyper-parameters by name: the same for every method, searched around the recipe."""
        lr, decay = self.lr, self.weight_decay
        return {
            "lr": replace(COMMON["lr"], default=lr, source=self.source, low=lr / 5, high=lr * 4, log=True),
            "weight_decay": replace(COMMON["weight_decay"], default=decay, source=self.source, low=decay / 5, high=decay * 5, log=True),
        }


def recipe_of_pair(student: Recipe, teacher: Recipe) -> Recipe:
    """The student's recipe, with the learning rate and the epochs of the teacher's training where the teacher's recipe is another."""
    return student if teacher == student else replace(student, teacher_lr=teacher.lr, teacher_epochs=teacher.teacher_epochs)


def optimizer(recipe: Recipe, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float, fused: bool = False) -> Optimizer:
    """The recipe's optimiser; AdamW leaves vectors (biases, norms) undecayed, as BERT's recipe does.

    Args:
        lr, weight_decay: in the place of the recipe's own, since both are tuned.
        fused: update all parameters in one kernel, where the device has it.
    """
    from torch.optim import SGD, Adam, AdamW

    if recipe.optimizer == "sgd":
        return SGD(parameters, lr=lr, momentum=recipe.momentum, nesterov=recipe.nesterov, weight_decay=weight_decay, fused=fused)
    if recipe.optimizer == "adam":
        return Adam(parameters, lr=lr, weight_decay=weight_decay, fused=fused)
    every = list(parameters)
    matrices = [parameter for parameter in every if parameter.dim() > 1]
    vectors = [parameter for parameter in every if parameter.dim() <= 1]
    return AdamW([{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}], lr=lr, fused=fused)


def curve(recipe: Recipe, progress: float) -> float:
    """The factor on the learning rate at a progress in [0, 1): linear warm-up, then the recipe's decay."""
    if progress < recipe.warmup:
        return progress / recipe.warmup
    if recipe.decay == "poly":
        return float((1 - progress) ** POLY_POWER)
    if recipe.decay == "linear":
        return (1 - progress) / (1 - recipe.warmup)
    if recipe.decay == "cosine":
        return (1 + math.cos(math.pi * (progress - recipe.warmup) / (1 - recipe.warmup))) / 2
    return float(recipe.gamma ** sum(progress >= milestone for milestone in recipe.milestones))
