"""What the parent process knows of a task: a card, without torch and without the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from kdarena.params import Tunable

if TYPE_CHECKING:
    from kdarena.tracks.task import Setting, Task


@dataclass(frozen=True)
class Recipe:
    """How a task trains a network.

    Attributes:
        lr, weight_decay: the common knobs, tuned alike for every method.
        momentum, nesterov, batch_size: fixed.
        optimizer: SGD with momentum, Adam or AdamW.
        decay: how the learning rate falls over the schedule: in ``steps`` (multiplied by ``gamma`` at each of the fractions
            ``milestones``), ``poly`` ((1 − progress) to the power of 0.9), ``linear`` or by a ``cosine`` to zero.
        clip: largest norm of the gradient of an update that brings no optimiser of its own, or None.
        warmup: fraction of the schedule over which the learning rate rises linearly from zero.
        teacher_epochs: epochs of a teacher's training.
        student_epochs: student-epochs of a run's full schedule: what a planner gives a run when time allows.
        teacher_lr: learning rate of the training of a teacher of another architecture than the student's, where it is not ``lr``.
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

    def knobs(self) -> dict[str, Tunable]:
        """The common knobs: the same for every method, searched around the recipe."""
        return {
            "lr": Tunable("float", self.lr, "paper", self.lr / 5, self.lr * 4, log=True, help="learning rate of the task's optimiser"),
            "weight_decay": Tunable(
                "float", self.weight_decay, "paper", self.weight_decay / 5, self.weight_decay * 5, log=True, help="weight decay of the task's optimiser"
            ),
        }


def recipe_of_pair(student: Recipe, teacher: Recipe) -> Recipe:
    """The student's recipe, with what the teacher's training has of its own."""
    return student if teacher == student else replace(student, teacher_lr=teacher.lr, teacher_epochs=teacher.teacher_epochs)


Offer = Literal[
    "class scores",
    "feature maps",
    "attention layers",
    "earlier exits",
    "one embedding a sample",
    "one label a sample",
    "images",
    "auxiliary inputs",
    "parallel inputs",
    "decoders",
    "students that start afresh",
    "a student that can be cut behind a stage",
]
"""What a task can offer to a method, which says by ``Method.requires`` what it needs."""


@dataclass(frozen=True)
class TaskCard:
    """A task: a track, a data set, a pair of architectures, metrics.

    Attributes:
        name: on the command line and the board, as ``digits`` or ``cifar100:resnet32x4-resnet8x4``.
        track: the kind of task.
        data_set: name of the data.
        teacher, student: names of architectures.
        classes: how many there are.
        train, validation, test: numbers of samples.
        metric: the ranked metric, higher is better, in percent.
        recipe: how networks are trained on it.
        embedded: carried by an installed package, so that nothing has to be downloaded or given.
        feature_maps: whether its networks show feature maps [B, C, H, W].
        pixels: whether its inputs are images, to which noise in units of pixels can be added.
        branches: whether its student can be cut behind a stage (:meth:`Task.branch`).
        exits: earlier exits of its student.
        teacher_dropout: whether its teacher can be trained with dropout.
        auxiliary: name of its set of unlabelled auxiliary inputs, or None.
        outliers: names of its sets of out-of-distribution inputs.
        metric_groups: further groups of metrics that can be asked for (``--metrics``).
        notes: further facts for ``kdarena tasks``.
        one_row_a_sample: whether a sample has one row of logits, one label and one embedding; else it has pixels or tokens.
        output: ``"classes"`` (scores of classes) or ``"values"`` (a regression, with ``classes`` = 1).
        attentions: attention layers of its student whose probabilities are shown, 0 for none.
        parallel: whether teachers see other inputs than the student.
        decodes: whether its networks are decoders (:meth:`Task.history`).
        start: ``"teacher"`` where every student starts from the reference teacher's weights.
        fast_bf16: whether its networks are large enough for bf16 to pay where the device is fast at it.
        missing: given the data root (or None), what is missing and how to mend it, or None where the task is available.
        digest: given the data root, 16 hexadecimal digits of the data, part of every run's key.
        load: builds the task on a device.
    """

    name: str
    track: str
    data_set: str
    teacher: str
    student: str
    classes: int
    train: int
    validation: int
    test: int
    metric: str
    recipe: Recipe
    missing: Callable[[str | None], str | None] = field(compare=False)
    digest: Callable[[str | None], str] = field(compare=False)
    load: Callable[[TaskCard, Setting], Task] = field(compare=False)
    embedded: bool = False
    feature_maps: bool = True
    pixels: bool = False
    branches: bool = False
    exits: int = 0
    teacher_dropout: bool = False
    auxiliary: str | None = None
    outliers: tuple[str, ...] = ()
    metric_groups: tuple[str, ...] = ()
    one_row_a_sample: bool = True
    output: Literal["classes", "values"] = "classes"
    attentions: int = 0
    parallel: bool = False
    decodes: bool = False
    start: Literal["teacher"] | None = None
    fast_bf16: bool = True
    notes: tuple[str, ...] = ()

    @property
    def offers(self) -> frozenset[Offer]:
        """What a method can require of it."""
        has: dict[Offer, bool] = {
            "class scores": self.output == "classes",
            "feature maps": self.feature_maps,
            "attention layers": self.attentions > 0,
            "earlier exits": self.exits > 0,
            "one embedding a sample": self.one_row_a_sample,
            "one label a sample": self.one_row_a_sample,
            "images": self.pixels,
            "auxiliary inputs": self.auxiliary is not None,
            "parallel inputs": self.parallel,
            "decoders": self.decodes,
            "students that start afresh": self.start is None,
            "a student that can be cut behind a stage": self.branches,
        }
        return frozenset(offer for offer, here in has.items() if here)

    def architecture(self, name: str) -> str:
        """The architecture that ``"teacher"`` or ``"student"`` stands for; any other name is one already."""
        return {"student": self.student, "teacher": self.teacher}.get(name, name)
