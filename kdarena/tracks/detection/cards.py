"""The track's tasks as cards: neither torch nor any data is touched before a card's functions are called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdarena.params import Source
from kdarena.tracks.card import TaskCard, split_pair
from kdarena.tracks.detection import coco, data, scenes_boxes, voc
from kdarena.tracks.detection.models import ARCHITECTURES, pyramid_of
from kdarena.tracks.recipe import Recipe

if TYPE_CHECKING:
    from kdarena.tracks.detection.task import DetectionTask
    from kdarena.tracks.values import Setting

TRACK = "detection"
METRIC_GROUPS = ("gap",)

SCENES_RECIPE = Recipe(
    lr=0.08,
    weight_decay=1e-4,
    momentum=0.9,
    nesterov=True,
    batch_size=8,
    decay="cosine",
    warmup=0.15,
    clip=5.0,
    teacher_epochs=12,
    student_epochs=6,
    source="ours",
)


def _paper(epochs: float, source: Source) -> Recipe:
    """SGD with the learning rate, decay, weight decay, batch and warm-up of Tian et al. 2019, arXiv 1904.01355, section 4."""
    return Recipe(
        lr=0.01,
        weight_decay=1e-4,
        momentum=0.9,
        batch_size=16,
        milestones=(2 / 3, 8 / 9),  # 60,000 and 80,000 of 90,000 steps
        warmup=500 / 90_000,
        teacher_epochs=epochs,
        student_epochs=epochs,
        source=source,
    )


@dataclass(frozen=True)
class Listed:
    """What a card says of one data set.

    Attributes:
        pairs: teachers and students that are listed, the default first.
        sizes: numbers of samples for training, validation and test.
        recipe: how networks are trained.
        missing, digest, check, read: of the data, given a data root.
        classes: number of classes.
        embedded: carried by scikit-learn.
    """

    pairs: tuple[tuple[str, str], ...]
    sizes: tuple[int, int, int]
    recipe: Recipe
    missing: Callable[[str | None], str | None]
    digest: Callable[[str | None], str]
    check: Callable[[str | None], tuple[str, ...]]
    read: Callable[[str | None], data.BoxSet]
    classes: int
    embedded: bool = False


REAL_PAIRS = (("fcos-resnet50", "fcos-mobilenetv3"), ("fcos-small", "fcos-tiny"))

LISTED: Mapping[str, Listed] = {
    "scenes-boxes": Listed(
        pairs=(("fcos-small", "fcos-tiny"),),
        sizes=tuple(scenes_boxes.SIZES.values()),  # type: ignore[arg-type]
        recipe=SCENES_RECIPE,
        missing=scenes_boxes.missing,
        digest=scenes_boxes.digest,
        check=lambda data_root: (),
        read=scenes_boxes.read,
        classes=len(scenes_boxes.CLASSES),
        embedded=True,
    ),
    "coco-boxes": Listed(
        pairs=REAL_PAIRS,
        sizes=(coco.PARTS["train2017"] - coco.VALIDATION, coco.VALIDATION, coco.PARTS["val2017"]),
        recipe=_paper(12, "paper"),
        missing=coco.missing,
        digest=coco.digest,
        check=coco.check,
        read=coco.read,
        classes=coco.CLASSES,
    ),
    "voc-boxes": Listed(
        pairs=REAL_PAIRS,
        sizes=(voc.PARTS["train"] - voc.VALIDATION, voc.VALIDATION, voc.PARTS["val"]),
        recipe=_paper(48, "ours"),
        missing=voc.missing,
        digest=voc.digest,
        check=voc.check,
        read=voc.read,
        classes=len(voc.CLASSES),
    ),
}
DATA_SETS = tuple(LISTED)


def cards(data_root: str | None = None) -> tuple[TaskCard, ...]:
    """The tasks that are listed; :func:`card` knows every other pair of architectures too."""
    return tuple(_card(name, teacher, student) for name, listed in LISTED.items() for teacher, student in listed.pairs)


def card(name: str, data_root: str | None = None) -> TaskCard:
    """The task of that name: ``scenes-boxes``, ``coco-boxes`` (its default pair) or ``coco-boxes:TEACHER-STUDENT``.

    Raises:
        ValueError: in one line: no such task, no such pair of architectures, or one of which the two look at different places.
    """
    data_set, _, pair = name.lower().replace("_", "-").partition(":")
    if data_set not in LISTED:
        raise ValueError(f"unknown task {name!r}; known: {', '.join(LISTED)}, and DATA_SET:TEACHER-STUDENT for other pairs")
    teacher, student = split_pair(name, pair, tuple(ARCHITECTURES)) if pair else LISTED[data_set].pairs[0]
    try:
        pyramid_of(teacher, student)
    except ValueError as error:
        raise ValueError(f"task {name!r}: {error}") from None
    return _card(data_set, teacher, student)


def _card(data_set: str, teacher: str, student: str) -> TaskCard:
    listed = LISTED[data_set]
    train, validation, test = listed.sizes
    return TaskCard(
        # an embedded task goes by its data set's name alone
        name=data_set if listed.embedded and (teacher, student) == listed.pairs[0] else f"{data_set}:{teacher}-{student}",
        track=TRACK,
        data_set=data_set,
        teacher=teacher,
        student=student,
        classes=listed.classes,
        train=train,
        validation=validation,
        test=test,
        metric="map",
        recipe=listed.recipe,
        missing=listed.missing,
        digest=listed.digest,
        check=listed.check,
        load=_load,
        embedded=listed.embedded,
        pixels=True,
        teacher_dropout=True,
        metric_groups=METRIC_GROUPS,
        one_row_a_sample=False,
    )


def _load(card: TaskCard, setting: Setting) -> DetectionTask:
    from kdarena.tracks.detection.task import DetectionTask

    return DetectionTask(card, setting, LISTED[card.data_set].read(setting.data_root))
