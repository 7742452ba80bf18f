"""The track's tasks as cards: neither torch nor any data is touched before a card's functions are called."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kdarena.tracks.card import TaskCard
from kdarena.tracks.recipe import Recipe
from kdarena.tracks.speech import librispeech_layout
from kdarena.tracks.speech.architectures import ARCHITECTURES

if TYPE_CHECKING:
    from kdarena.tracks.speech.task import SpeechTask
    from kdarena.tracks.values import Setting

TRACK = "speech"


def _recipe(lr: float, teacher_epochs: float, student_epochs: float) -> Recipe:
    """Adam with a short warm-up and a cosine; data sets differ in rate and length alone."""
    return Recipe(
        lr=lr,
        weight_decay=1e-6,
        momentum=0.0,
        batch_size=32,
        optimizer="adam",
        decay="cosine",
        clip=1.0,
        warmup=0.05,
        teacher_epochs=teacher_epochs,
        student_epochs=student_epochs,
    )


TONES_RECIPE = _recipe(4e-3, teacher_epochs=24, student_epochs=40)
FSDD_RECIPE = _recipe(2e-3, teacher_epochs=30, student_epochs=40)
LIBRISPEECH_RECIPE = _recipe(3e-4, teacher_epochs=60, student_epochs=20)
DEFAULTS = {"tones": "aed32", "fsdd": "aed64", "librispeech": "aed256"}
"""The architecture of teacher and student."""
DATA_SETS = tuple(DEFAULTS)


def cards(data_root: str | None = None) -> tuple[TaskCard, ...]:
    """The tasks that are listed; :func:`card` knows other pairs of architectures too."""
    return tuple(card(name, data_root) for name in DATA_SETS)


def card(name: str, data_root: str | None = None) -> TaskCard:
    """The task of that name: ``tones``, ``fsdd`` or ``librispeech``, also as ``DATA_SET:TEACHER-STUDENT``.

    Raises:
        ValueError: in one line: no such task, or no such pair of architectures.
    """
    data_set, _, pair = name.lower().replace("_", "-").partition(":")
    if data_set not in DEFAULTS:
        raise ValueError(f"unknown task {name!r}; known: {', '.join(DATA_SETS)}")
    teacher, hyphen, student = pair.partition("-") if pair else (DEFAULTS[data_set], "-", DEFAULTS[data_set])
    if not hyphen or teacher not in ARCHITECTURES or student not in ARCHITECTURES:
        raise ValueError(f"task {name!r}: {pair!r} is no TEACHER-STUDENT of known architectures: {', '.join(ARCHITECTURES)}")
    facts = {"tones": _tones, "fsdd": _fsdd, "librispeech": _librispeech}[data_set](data_root)
    return TaskCard(
        name=f"{data_set}:{teacher}-{student}" if pair else data_set,
        track=TRACK,
        data_set=data_set,
        teacher=teacher,
        student=student,
        metric="word_accuracy",
        load=_load,
        teacher_dropout=True,
        parallel=True,
        decodes=True,
        one_row_a_sample=False,
        # a student of another size can't take the teacher's weights
        start="teacher" if teacher == student else None,
        augmentations=1,
        **facts,
    )


def _tones(data_root: str | None) -> dict[str, Any]:
    return {
        "classes": 11,
        "train": 1000,
        "validation": 150,
        "test": 400,
        "recipe": TONES_RECIPE,
        "missing": lambda data_root: None,
        "digest": lambda data_root: _data("tones", data_root).digest,
        "embedded": True,
    }


def _fsdd(data_root: str | None) -> dict[str, Any]:
    return {
        "classes": 11,
        "train": 2000,
        "validation": 300,
        "test": 500,
        "recipe": FSDD_RECIPE,
        "missing": _missing_fsdd,
        "digest": lambda data_root: _data("fsdd", data_root).digest,
        "check": _check_by(lambda data_root: _data("fsdd", data_root)),
    }


def _librispeech(data_root: str | None) -> dict[str, Any]:
    train, validation, test = librispeech_layout.sizes(data_root).values()
    return {
        "classes": 29,
        "train": train,
        "validation": validation,
        "test": test,
        "recipe": LIBRISPEECH_RECIPE,
        "missing": librispeech_layout.missing,
        "digest": _librispeech_digest,
        "check": _check_by(_librispeech_digest),
    }


def _check_by(read: Callable[[str | None], object]) -> Callable[[str | None], tuple[str, ...]]:
    """A card's ``check`` that reads the data, and raises as that does."""

    def check(data_root: str | None) -> tuple[str, ...]:
        read(data_root)
        return ()

    return check


def _missing_fsdd(data_root: str | None) -> str | None:
    from kdarena.tracks.speech import fsdd

    return fsdd.missing(data_root)


def _librispeech_digest(data_root: str | None) -> str:
    from kdarena.tracks.speech import librispeech

    return librispeech.digest(data_root)


def _data(data_set: str, data_root: str | None) -> Any:
    from kdarena.tracks.speech import fsdd, librispeech, tones

    return {"tones": lambda: tones.load(), "fsdd": lambda: fsdd.load(data_root), "librispeech": lambda: librispeech.load(data_root)}[data_set]()


def _load(card: TaskCard, setting: Setting) -> SpeechTask:
    from kdarena.tracks.speech.task import SpeechTask

    return SpeechTask(card, setting, _data(card.data_set, setting.data_root))
