"""The track's tasks as cards: neither torch nor any data is touched before a card's functions are called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kdarena.tracks.card import TaskCard, missing_scikit_learn, split_pair
from kdarena.tracks.recipe import Recipe
from kdarena.tracks.segmentation import benchmarks, camvid, data, nyu, scenes
from kdarena.tracks.segmentation.models import ARCHITECTURES

if TYPE_CHECKING:
    from kdarena.tracks.segmentation.dense import DenseTask
    from kdarena.tracks.values import Setting

TRACK = "segmentation"
METRIC_GROUPS = ("gap", "uncertainty")

SCENES_RECIPE = Recipe(lr=0.1, weight_decay=5e-4, momentum=0.9, nesterov=True, batch_size=8, decay="poly", clip=5.0, teacher_epochs=14, student_epochs=14)
DEPTH_RECIPE = Recipe(lr=0.02, weight_decay=5e-4, momentum=0.9, nesterov=True, batch_size=8, decay="poly", teacher_epochs=14, student_epochs=14)


def _paper(epochs: float) -> Recipe:
    """SGD with the learning rate, decay, weight decay and batch of Liu et al. 2020, arXiv 1903.04197."""
    return Recipe(lr=0.01, weight_decay=5e-4, momentum=0.9, batch_size=8, decay="poly", teacher_epochs=epochs, student_epochs=epochs)


@dataclass(frozen=True)
class Listed:
    """What a card says of one data set.

    Attributes:
        pairs: teachers and students that are listed, the default first.
        sizes: numbers of samples for training, validation and test.
        recipe: how networks are trained.
        missing, digest, read: of the data, given a data root.
        classes: number of classes; 1 where targets are distances.
        output: classes, or values (distances).
        embedded: carried by scikit-learn.
    """

    pairs: tuple[tuple[str, str], ...]
    sizes: tuple[int, int, int]
    recipe: Recipe
    missing: Callable[[str | None], str | None]
    digest: Callable[[str | None], str]
    read: Callable[[str | None], data.DenseSet]
    classes: int
    output: Literal["classes", "values"] = "classes"
    embedded: bool = False


REAL_PAIRS = (("pspnet18", "pspnet18-quarter"), ("pspnet-small", "pspnet-tiny"), ("unet-small", "unet-tiny"), ("deeplabv3-resnet50", "lraspp-mobilenetv3"))

LISTED: Mapping[str, Listed] = {
    "scenes": Listed(
        pairs=(("pspnet-small", "pspnet-tiny"),),
        sizes=tuple(scenes.SIZES.values()),  # type: ignore[arg-type]
        recipe=SCENES_RECIPE,
        missing=missing_scikit_learn,
        digest=lambda data_root: scenes.digest(),
        read=lambda data_root: data.scenes_set(),
        classes=len(scenes.CLASSES),
        embedded=True,
    ),
    "scenes-depth": Listed(
        pairs=(("pspnet-small", "pspnet-tiny"),),
        sizes=tuple(scenes.SIZES.values()),  # type: ignore[arg-type]
        recipe=DEPTH_RECIPE,
        missing=missing_scikit_learn,
        digest=lambda data_root: scenes.digest(),
        read=lambda data_root: data.scenes_depth_set(),
        classes=1,
        output="values",
        embedded=True,
    ),
    "camvid": Listed(
        pairs=REAL_PAIRS,
        sizes=tuple(camvid.PARTS.values()),  # type: ignore[arg-type]
        recipe=_paper(200),
        missing=camvid.missing,
        digest=camvid.digest,
        read=camvid.read,
        classes=len(camvid.CLASSES),
    ),
    "voc": Listed(
        pairs=REAL_PAIRS,
        sizes=(1318, 146, benchmarks.VOC_PARTS["val"]),
        recipe=_paper(100),
        missing=benchmarks.voc_missing,
        digest=benchmarks.voc_digest,
        read=benchmarks.read_voc,
        classes=len(benchmarks.VOC_CLASSES),
    ),
    "cityscapes": Listed(
        pairs=REAL_PAIRS,
        sizes=(2678, 297, benchmarks.CITYSCAPES_PARTS["val"]),
        recipe=_paper(108),  # 40,000 steps on all of train
        missing=benchmarks.cityscapes_missing,
        digest=benchmarks.cityscapes_digest,
        read=benchmarks.read_cityscapes,
        classes=len(benchmarks.CITYSCAPES_CLASSES),
    ),
    "nyuv2": Listed(
        pairs=REAL_PAIRS,
        sizes=(715, 80, nyu.PARTS["test"]),
        recipe=_paper(100),
        missing=nyu.missing,
        digest=nyu.digest,
        read=nyu.read,
        classes=1,
        output="values",
    ),
}
DATA_SETS = tuple(LISTED)


def cards(data_root: str | None = None) -> tuple[TaskCard, ...]:
    """The tasks that are listed; :func:`card` knows every other pair of architectures too."""
    return tuple(_card(name, teacher, student) for name, listed in LISTED.items() for teacher, student in listed.pairs)


def card(name: str, data_root: str | None = None) -> TaskCard:
    """The task of that name: ``scenes``, ``camvid`` (its default pair) or ``camvid:TEACHER-STUDENT``.

    Raises:
        ValueError: in one line: no such task, or no such pair of architectures.
    """
    data_set, _, pair = name.lower().replace("_", "-").partition(":")
    if data_set not in LISTED:
        raise ValueError(f"unknown task {name!r}; known: {', '.join(LISTED)}, and DATA_SET:TEACHER-STUDENT for other pairs")
    return _card(data_set, *(split_pair(name, pair, tuple(ARCHITECTURES)) if pair else LISTED[data_set].pairs[0]))


def _card(data_set: str, teacher: str, student: str) -> TaskCard:
    listed = LISTED[data_set]
    train, validation, test = listed.sizes
    values = listed.output == "values"
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
        metric="delta1" if values else "miou",
        recipe=listed.recipe,
        missing=listed.missing,
        digest=listed.digest,
        check=lambda data_root: () if listed.embedded else _check(listed, data_root),
        load=_load,
        embedded=listed.embedded,
        pixels=True,
        teacher_dropout=True,
        metric_groups=() if values else METRIC_GROUPS,
        output=listed.output,
        one_row_a_sample=False,
    )


def _check(listed: Listed, data_root: str | None) -> tuple[str, ...]:
    """Look at every image and its targets; raises ``ValueError`` in one line that names the file of a wrong one."""
    found = listed.read(data_root)
    found.train.check_images()
    found.test.check_images()
    return ()


def _load(card: TaskCard, setting: Setting) -> DenseTask:
    from kdarena.tracks.segmentation.depth import DepthTask
    from kdarena.tracks.segmentation.task import SegmentationTask

    dense_set = LISTED[card.data_set].read(setting.data_root)
    return (DepthTask if card.output == "values" else SegmentationTask)(card, setting, dense_set)
