"""What the parent process knows of a task: a card, without torch and without the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from kdarena.tracks.recipe import Recipe

if TYPE_CHECKING:
    from kdarena.tracks.values import Setting


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


SampleIds = tuple[Sequence[tuple[str, ...]], Sequence[tuple[str, ...]]]
"""Of each sample of the train half, then of the test half, the names that it has: several where files have the same content."""


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
        teacher_trainable: whether its teacher can be trained; else its weights come with it, and it shows its logits alone.
        auxiliary: name of its set of unlabelled auxiliary inputs, or None.
        outliers: names of its sets of out-of-distribution inputs.
        metric_groups: further groups of metrics that can be asked for (``--metrics``).
        one_row_a_sample: whether a sample has one row of logits, one label and one embedding; else it has pixels or tokens.
        embedding: whether its networks show that embedding, the input of a last linear layer.
        output: ``"classes"`` (scores of classes) or ``"values"`` (a regression, with ``classes`` = 1).
        attentions: attention layers of its student whose probabilities are shown, 0 for none.
        parallel: whether teachers see other inputs than the student.
        decodes: whether its networks are decoders (:meth:`Task.decoder_inputs`).
        start: ``"teacher"`` where every student starts from the reference teacher's weights.
        given_teacher: folder of its reference teacher where that comes trained for the task: its ``new_network(teacher)`` has the weights.
        teacher_logits: file of the logits by which alone its reference teacher is known.
        made_up: whether it can be loaded over made-up data (:attr:`kdarena.tracks.values.Setting.made_up`).
        augmentations: that a training sample can have; 1: it has none; None: more than can be numbered (:data:`kdarena.tracks.views.MOST_VIEWS`).
        missing: given the data root (or None), what is missing and how to get it, or None where the task is available.
        digest: given the data root, 16 hexadecimal digits of the data, part of every run's key.
        check: given the data root, looks at all data of the task before anything is planned: lines that a user has to know; raises
            ``ValueError`` in one line that names file and row where the data are wrong.
        sample_ids: given the data root, the names of each sample, of the train half and of the test half, where samples have names of their own; None: they
            are known by their rows.
        load: builds the :class:`kdarena.Task` on a device; a card does not know that class, so :func:`kdarena.tracks.load_task` gives the type.
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
    load: Callable[[TaskCard, Setting], Any] = field(compare=False)
    embedded: bool = False
    feature_maps: bool = True
    pixels: bool = False
    branches: bool = False
    exits: int = 0
    teacher_dropout: bool = False
    teacher_trainable: bool = True
    auxiliary: str | None = None
    outliers: tuple[str, ...] = ()
    metric_groups: tuple[str, ...] = ()
    one_row_a_sample: bool = True
    embedding: bool = True
    output: Literal["classes", "values"] = "classes"
    attentions: int = 0
    parallel: bool = False
    decodes: bool = False
    start: Literal["teacher"] | None = None
    given_teacher: str | None = None
    teacher_logits: str | None = None
    made_up: bool = False
    augmentations: int | None = None
    check: Callable[[str | None], Sequence[str]] = field(default=lambda data_root: (), compare=False)
    sample_ids: Callable[[str | None], SampleIds] | None = field(default=None, compare=False)

    @property
    def offers(self) -> frozenset[Offer]:
        """What a method can require of it."""
        has: dict[Offer, bool] = {
            "class scores": self.output == "classes",
            "feature maps": self.feature_maps,
            "attention layers": self.attentions > 0,
            "earlier exits": self.exits > 0,
            "one embedding a sample": self.one_row_a_sample and self.embedding,
            "one label a sample": self.one_row_a_sample and not self.recipe.mixes,
            "images": self.pixels,
            "auxiliary inputs": self.auxiliary is not None,
            "parallel inputs": self.parallel,
            "decoders": self.decodes,
            "students that start afresh": self.start is None,
            "a student that can be cut behind a stage": self.branches,
        }
        return frozenset(offer for offer, here in has.items() if here)

    @property
    def chance(self) -> float:
        """The ranked metric of a network that guesses, in percent; 0 where that depends on more than the number of classes."""
        return 100 / self.classes if self.metric in ("top1", "accuracy") and self.output == "classes" else 0.0

    def architecture(self, name: str) -> str:
        """The architecture that ``"teacher"`` or ``"student"`` means; any other name is an architecture already."""
        return {"student": self.student, "teacher": self.teacher}.get(name, name)


def split_pair(task: str, pair: str, architectures: Sequence[str]) -> tuple[str, str]:
    """Teacher and student of ``wrn-40-2-wrn-16-2``: split at the hyphen that leaves a known architecture on either side.

    Args:
        task: the whole name, for the message.

    Raises:
        ValueError: in one line: there is no such hyphen.
    """
    words = pair.split("-")
    for cut in range(1, len(words)):
        teacher, student = "-".join(words[:cut]), "-".join(words[cut:])
        if teacher in architectures and student in architectures:
            return teacher, student
    raise ValueError(f"task {task!r}: {pair!r} is no TEACHER-STUDENT of known architectures: {', '.join(architectures)}")


def missing_scikit_learn(data_root: str | None) -> str | None:
    """What a task over scikit-learn's data is missing: the package, or nothing."""
    return None if find_spec("sklearn") else "scikit-learn is not installed: pip install scikit-learn"
