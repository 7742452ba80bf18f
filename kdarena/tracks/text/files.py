"""A task of the user's own texts: the card of ``--text FILE --columns TEXT,LABEL --teacher NETWORK --student NETWORK``."""

from __future__ import annotations

import functools
import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdarena.tracks.card import SampleIds, TaskCard
from kdarena.tracks.recipe import Recipe
from kdarena.tracks.rows import check_labels
from kdarena.tracks.text import checkpoint, data
from kdarena.tracks.text.cards import DATA_SETS, METRIC_GROUPS, PAIRS, TRACK, layers_of, recipe_of
from kdarena.tracks.text.labels import order_of
from kdarena.tracks.text.samples import OwnTexts, files_of, read_own

if TYPE_CHECKING:
    from kdarena.tracks.text.task import TextTask
    from kdarena.tracks.values import Setting


LEAST_STEPS = 200
"""Of a network's training by the recipe: few rows are seen more often than the recipe's epochs."""


def own_card(settings: Mapping[str, Any]) -> TaskCard:
    """The card of a task; its data are read, and read again only where a file has changed.

    Args:
        settings: ``text``, the file or folder; ``columns``, ``teacher`` and ``student`` where they were given.

    Raises:
        ValueError: in one line: the data are missing or wrong, or there is no such network.
    """
    place, typed = str(settings["text"]), settings.get("columns")
    teacher, student = (checkpoint.absolute(settings.get(role) or default) for role, default in zip(("teacher", "student"), PAIRS[0], strict=True))
    own = _own(place, typed)
    checkpoints = tuple(dict.fromkeys(network for network in (teacher, student) if checkpoint.is_folder(network)))
    layers_of(teacher)

    def digest(data_root: str | None) -> str:
        parts = (_own(place, typed).digest, *map(checkpoint.digest, checkpoints))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def check(data_root: str | None) -> list[str]:
        for network in checkpoints:
            if checkpoint.fine_tuned(network):
                order_of(network, checkpoint.config(network), own.labels)
        if checkpoints:
            data.shared_vocabulary(checkpoints)
        return [*own.notes, *_check(place, own)]

    def load(card: TaskCard, setting: Setting) -> TextTask:
        from kdarena.tracks.text.task import TextTask

        return TextTask(card, setting, data.load_own(_own(place, typed), checkpoints))

    name = _name(Path(place))
    return TaskCard(
        name=f"{name}:{_plain(checkpoint.short(teacher))}:{_plain(checkpoint.short(student))}",
        track=TRACK,
        data_set=name,
        teacher=teacher,
        student=student,
        classes=len(own.labels),
        train=len(own.train) - own.validation,
        validation=own.validation,
        test=len(own.test),
        metric="accuracy",
        recipe=_for_few_rows(recipe_of(teacher, student), len(own.train) - own.validation),
        missing=lambda data_root: next((problem for problem in map(checkpoint.missing, checkpoints) if problem is not None), None),
        digest=digest,
        check=check,
        load=load,
        sample_ids=None if own.places is None else lambda data_root: _row_numbers(_own(place, typed)),
        attentions=layers_of(student),
        given_teacher=str(checkpoint.place_of(teacher)) if checkpoint.is_folder(teacher) and checkpoint.fine_tuned(teacher) else None,
        teacher_dropout=True,
        augmentations=1,
        metric_groups=METRIC_GROUPS,
    )


def _row_numbers(own: OwnTexts) -> SampleIds:
    """The rows of a single file that its train half and its test half are, from 0, without its header."""
    train, test = ([(str(row),) for row in rows] for rows in own.places or ((), ()))
    return train, test


def _for_few_rows(recipe: Recipe, rows: int) -> Recipe:
    """A recipe under which networks take :data:`LEAST_STEPS` steps at least."""
    least = float(math.ceil(LEAST_STEPS / max(1, rows // recipe.batch_size)))
    return replace(recipe, teacher_epochs=max(recipe.teacher_epochs, least), student_epochs=max(recipe.student_epochs, least))


def _own(place: str, typed: str | None) -> OwnTexts:
    stamps = tuple((str(path), stat.st_size, stat.st_mtime_ns) for paths in files_of(Path(place)).values() for path in paths for stat in (path.stat(),))
    return _read(place, typed, stamps)


@functools.lru_cache(maxsize=8)
def _read(place: str, typed: str | None, stamps: tuple[tuple[str, int, int], ...]) -> OwnTexts:
    return read_own(Path(place), typed)


def _check(place: str, own: OwnTexts) -> list[str]:
    number = {name: position for position, name in enumerate(own.labels)}
    train, test = ([number[name] for name in part.labels] for part in (own.train, own.test))
    trained_on = train[: len(train) - own.validation] if own.fixed else train
    notes = check_labels(trained_on, test, own.labels, place, validation=0 if own.fixed else own.validation)
    untested = sorted(set(train) - set(test))
    if untested:
        notes.append(
            f"{place}: no row of class {', '.join(repr(own.labels[label]) for label in untested)} is in the test part: add rows to know how well it is learnt"
        )
    return notes


def _name(place: Path) -> str:
    """The name of a data set after its file or folder, and none that is listed."""
    name = _plain(place.name if place.is_dir() else place.stem).lower() or "text"
    return f"own-{name}" if name in DATA_SETS else name


def _plain(name: str) -> str:
    """Letters, digits, dots and hyphens of a name."""
    return re.sub(r"[^\w.]+", "-", name).strip("-.")
