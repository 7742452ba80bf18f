"""The track's tasks as cards: neither torch nor any data is touched before a card's functions are called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdarena.tracks.card import TaskCard, missing_scikit_learn, split_pair
from kdarena.tracks.classification import data, outliers
from kdarena.tracks.classification.models import ARCHITECTURES
from kdarena.tracks.recipe import Recipe, recipe_of_pair

if TYPE_CHECKING:
    from kdarena.tracks.classification.task import ClassificationTask
    from kdarena.tracks.values import Setting

TRACK = "classification"
METRIC_GROUPS = ("gap", "uncertainty", "robustness")
MILESTONES = (0.625, 0.75, 0.875)
"""Epochs 150, 180 and 210 of the public benchmark's 240."""

DIGITS_RECIPE = Recipe(
    lr=0.2, weight_decay=5e-4, momentum=0.9, batch_size=64, milestones=MILESTONES, gamma=0.1, teacher_epochs=120, student_epochs=200, clip=5.0
)
"""The limit is one that the plain student never reaches: it is for losses whose weights belong to larger maps than 2 x 2."""
CIFAR_RECIPE = Recipe(lr=0.05, weight_decay=5e-4, momentum=0.9, batch_size=64, milestones=MILESTONES, gamma=0.1, teacher_epochs=240)
SMALL_LR_RECIPE = Recipe(lr=0.01, weight_decay=5e-4, momentum=0.9, batch_size=64, milestones=MILESTONES, gamma=0.1, teacher_epochs=240)
SMALL_LR = ("mobilenetv2", "shufflenetv1", "shufflenetv2")
"""Architectures that the public benchmark trains with a learning rate of 0.01."""

CIFAR_VALIDATION = 5_000
CIFAR10_PAIRS = (("resnet56", "resnet20"),)
CIFAR100_PAIRS = (
    ("resnet32x4", "resnet8x4"),
    ("wrn-40-2", "wrn-16-2"),
    ("wrn-40-2", "wrn-40-1"),
    ("resnet56", "resnet20"),
    ("resnet110", "resnet20"),
    ("resnet110", "resnet32"),
    ("vgg13", "vgg8"),
    ("vgg13", "mobilenetv2"),
    ("resnet50", "mobilenetv2"),
    ("resnet50", "vgg8"),
    ("resnet32x4", "shufflenetv1"),
    ("resnet32x4", "shufflenetv2"),
    ("wrn-40-2", "shufflenetv1"),
)
"""The public benchmark's pairs (Tian et al. 2020, arXiv 1910.10699, tables 1 and 2), the default first."""
PAIRS = {"cifar10": CIFAR10_PAIRS, "cifar100": CIFAR100_PAIRS}
DATA_SETS = ("digits", *PAIRS)
CIFAR_ARCHITECTURES = tuple(name for name in ARCHITECTURES if not name.startswith("digits"))


def cards(data_root: str | None = None) -> tuple[TaskCard, ...]:
    """The tasks that are listed; :func:`card` knows every other pair of architectures too."""
    return (_digits(), *(_cifar(name, teacher, student, data_root) for name, pairs in PAIRS.items() for teacher, student in pairs))


def card(name: str, data_root: str | None = None) -> TaskCard:
    """The task of that name: ``digits``, ``cifar100`` (its default pair) or ``cifar100:TEACHER-STUDENT``.

    Architectures may be written as papers write them (``MobileNetV2``, ``wrn_40_2``).

    Raises:
        ValueError: in one line: no such task, or no such pair of architectures.
    """
    data_set, _, pair = name.lower().replace("_", "-").partition(":")
    if data_set == "digits" and not pair:
        return _digits()
    if data_set not in PAIRS:
        raise ValueError(f"unknown task {name!r}; known: digits, {', '.join(PAIRS)}, and {', '.join(f'{known}:TEACHER-STUDENT' for known in PAIRS)}")
    teacher, student = split_pair(name, pair, CIFAR_ARCHITECTURES) if pair else PAIRS[data_set][0]
    return _cifar(data_set, teacher, student, data_root)


def _digits() -> TaskCard:
    return TaskCard(
        name="digits",
        track=TRACK,
        data_set="digits",
        teacher="digits-teacher",
        student="digits-student",
        classes=10,
        train=500,
        validation=300,
        test=data.DIGITS_TEST,
        metric="top1",
        recipe=DIGITS_RECIPE,
        missing=missing_scikit_learn,
        digest=lambda data_root: data.load_digits().digest,
        load=_load,
        embedded=True,
        augmentations=(2 * data.DIGITS_PADDING + 1) ** 2,
        **_offers("digits", "digits-teacher", "digits-student", None),
    )


def _cifar(name: str, teacher: str, student: str, data_root: str | None) -> TaskCard:
    return TaskCard(
        name=f"{name}:{teacher}-{student}",
        track=TRACK,
        data_set=name,
        teacher=teacher,
        student=student,
        classes=data.CIFAR[name].classes,
        train=45_000,
        validation=CIFAR_VALIDATION,
        test=10_000,
        metric="top1",
        recipe=recipe_of_pair(*(SMALL_LR_RECIPE if network in SMALL_LR else CIFAR_RECIPE for network in (student, teacher))),
        missing=lambda data_root: data.missing_files(name, data_root),
        digest=lambda data_root: data.load_cifar(name, data_root).digest,
        check=lambda data_root: data.check_cifar(name, data_root, CIFAR_VALIDATION),
        load=_load,
        made_up=True,
        **_offers(name, teacher, student, data_root),
    )


def _offers(data_set: str, teacher: str, student: str, data_root: str | None) -> dict[str, Any]:
    """What a task offers in addition to its data and networks."""
    return {
        "pixels": True,
        "branches": ARCHITECTURES[student].branches,
        "exits": ARCHITECTURES[student].exits,
        "teacher_dropout": ARCHITECTURES[teacher].dropout,
        "auxiliary": outliers.auxiliary_of(data_set, data_root),
        "outliers": outliers.outliers_of(data_set, data_root),
        "metric_groups": METRIC_GROUPS,
    }


def _load(card: TaskCard, setting: Setting) -> ClassificationTask:
    from kdarena.tracks.classification.task import ClassificationTask

    if card.data_set == "digits":
        loaded = data.load_digits()
    else:
        loaded = data.made_up_cifar(card.data_set) if setting.made_up else data.load_cifar(card.data_set, setting.data_root)
    return ClassificationTask(card, setting, loaded)
