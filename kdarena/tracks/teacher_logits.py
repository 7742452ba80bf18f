"""A task whose teacher is known by its logits alone: ``kdarena run --teacher-logits FILE``. Torch is imported where the task is loaded."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdarena.files import digest_of
from kdarena.tracks import find_card
from kdarena.tracks.card import TaskCard
from kdarena.tracks.classification.models.references import label
from kdarena.tracks.logits_file import Logits, read_logits
from kdarena.tracks.own import from_plain

if TYPE_CHECKING:
    from kdarena.tracks.known_logits import KnownLogits
    from kdarena.tracks.task import Task
    from kdarena.tracks.values import Setting


def own_card(settings: Mapping[str, Any]) -> TaskCard:
    """The card of a task with another teacher.

    Args:
        settings: ``teacher_logits``, the file; ``of``, a task that the user brings, or ``task``, a listed name.

    Raises:
        ValueError: in one line: the task's networks do not answer with one row of logits a sample, or its students start from the teacher's weights.
    """
    path = Path(settings["teacher_logits"])
    base = from_plain(settings["of"]).card() if "of" in settings else find_card(settings["task"])
    problem = _problem(base)
    if problem is not None:
        raise ValueError(f"--teacher-logits {path}: task {base.name} {problem}")
    teacher = f"logits.{_plain(path.stem)}.{hashlib.sha256(str(path).encode()).hexdigest()[:6]}"
    data = base.data_set if base.name.startswith(base.data_set) else base.name
    return replace(
        base,
        name=f"{data}:{teacher}-{_plain(label(base.student))}",
        teacher=teacher,
        teacher_logits=str(path),
        teacher_trainable=False,
        teacher_dropout=False,
        given_teacher=None,
        feature_maps=False,
        embedding=False,
        attentions=0,
        embedded=False,
        missing=lambda data_root: base.missing(data_root) or (None if path.is_file() else f"--teacher-logits {path}: no such file"),
        digest=lambda data_root: hashlib.sha256(f"{base.digest(data_root)} {digest_of(path)}".encode()).hexdigest()[:16],
        check=lambda data_root: [*base.check(data_root), *logits_of(base, path, data_root).notes],
        load=functools.partial(_load, base),
    )


def _problem(card: TaskCard) -> str | None:
    """Why a task can't have such a teacher, and what to do; None where it can."""
    if not card.one_row_a_sample or card.output != "classes":
        return "has not one row of logits a sample, so a file can't give them; give the teacher's weights by --teacher-checkpoint"
    if card.start is not None:
        return "starts every student from its teacher's weights, which a file of logits does not hold; give them by --teacher-checkpoint"
    if card.recipe.mixes:
        return "mixes samples with one another, and the teacher's logits of mixtures are not known; take --recipe paper"
    return None


def logits_of(card: TaskCard, path: Path, data_root: str | None) -> Logits:
    """The logits of a file, in the order of a task's samples.

    Raises:
        ValueError: in one line: see :func:`kdarena.tracks.logits_file.read_logits`.
    """
    names = None if card.sample_ids is None else card.sample_ids(data_root)
    try:
        return read_logits(path, card.train + card.validation, card.test, card.classes, names)
    except ValueError as error:
        raise ValueError(f"--teacher-logits {error}") from None


def network_of(card: TaskCard, data_root: str | None) -> KnownLogits:
    """The teacher of such a task.

    Raises:
        ValueError: in one line, as :func:`logits_of`.
    """
    import torch

    from kdarena.tracks.known_logits import KnownLogits

    assert card.teacher_logits is not None
    found = logits_of(card, Path(card.teacher_logits), data_root)
    return KnownLogits(torch.from_numpy(found.train), None if found.test is None else torch.from_numpy(found.test))


def unknown_logits(task: Task) -> KnownLogits:
    """A teacher of a task in the place of one that is known by its logits, for what depends on shapes alone."""
    import torch

    from kdarena.tracks.known_logits import KnownLogits

    return KnownLogits(torch.zeros(task.parts.train, task.classes))


def _load(base: TaskCard, card: TaskCard, setting: Setting) -> Task:
    task: Task = base.load(base, setting)
    task.card = card
    return task


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.") or "file"
