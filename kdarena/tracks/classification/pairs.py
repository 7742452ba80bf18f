"""Tasks of a listed data set with networks that the user names: ``--tasks cifar100 --teacher torchvision:resnet50 --student timm:vit_tiny_patch16_224``."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kdarena.tracks.card import TaskCard
from kdarena.tracks.classification import cards
from kdarena.tracks.classification.models import facts
from kdarena.tracks.classification.models.references import FORMS, Facts, is_reference, label, parse, with_taps
from kdarena.tracks.recipe import Recipe

IMAGES = {"digits": (1, (8, 8)), "cifar10": (3, (32, 32)), "cifar100": (3, (32, 32))}
"""Channels, height and width of each data set's images."""
CLIP = 5.0
"""Limit of the gradient's norm, for networks that the recipe was not made for."""
WITHOUT_BATCH_NORM = Recipe(
    lr=1e-3, weight_decay=0.05, momentum=0.9, batch_size=64, teacher_epochs=240, optimizer="adamw", decay="cosine", warmup=0.05, clip=1.0
)
"""Of pairs with a network that the listed recipe's SGD does not train, as a ViT."""


def own_card(settings: Mapping[str, Any]) -> TaskCard:
    """The card of a listed data set with other networks.

    Args:
        settings: ``task``, a listed name; ``teacher`` and ``student``, names of networks, each as in the listed task where it is not given; ``taps``,
            the stages that the user named.

    Raises:
        ValueError: in one line: there is no such task or network, or a network can't take the task's images.
    """
    return _card(json.dumps(dict(settings), sort_keys=True))


@functools.cache
def _card(settings: str) -> TaskCard:
    said = json.loads(settings)
    listed = cards.card(said["task"])
    channels, size = IMAGES[listed.data_set]
    taps = said.get("taps")
    teacher, student = (with_taps(said.get(role) or getattr(listed, role), taps, role) for role in ("teacher", "student"))  # type: ignore[arg-type]
    if taps and not any(map(is_reference, (teacher, student))):
        raise ValueError(f"--taps {taps}: the stages of listed networks are declared; name a network by --teacher or --student, as timm:resnet18")
    of_teacher, of_student = (facts(name, listed.classes, channels, size) for name in (teacher, student))
    if not of_student.trainable:
        raise ValueError(f"network {student}: an ONNX file can only be a teacher; name the student by {FORMS}")
    return replace(
        listed,
        name=f"{listed.data_set}:{label(teacher)}-{label(student)}",
        teacher=teacher,
        student=student,
        recipe=recipe_of_networks(listed.recipe, of_teacher, of_student),
        embedded=False,
        digest=lambda data_root: _digest(listed.digest(data_root), teacher, student),
        **offers_of_networks(of_teacher, of_student),
    )


def recipe_of_networks(listed: Recipe, teacher: Facts, student: Facts) -> Recipe:
    """A listed task's recipe where both networks normalise by batches, with a limit of the gradient's norm; else AdamW with warm-up and cosine, for both."""
    if teacher.batch_norm and student.batch_norm:
        return replace(listed, clip=listed.clip or CLIP)
    return replace(WITHOUT_BATCH_NORM, batch_size=listed.batch_size, teacher_epochs=listed.teacher_epochs, student_epochs=listed.student_epochs)


def offers_of_networks(teacher: Facts, student: Facts) -> dict[str, Any]:
    """What a card says of its pair of networks."""
    return {
        "branches": student.branches,
        "exits": student.exits,
        "teacher_dropout": teacher.dropout,
        "feature_maps": teacher.feature_maps and student.feature_maps,
        "embedding": teacher.embedding and student.embedding,
        "teacher_trainable": teacher.trainable,
    }


def networks_digest(*names: str) -> str:
    """16 hexadecimal digits of what networks by reference are made of: a library's version, a folder's configuration, a file's code; empty for listed ones."""
    from kdarena.tracks.classification.models import zoo

    parts = [f"{name} {zoo.digest(parse(name))}" for name in names if is_reference(name)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16] if parts else ""


def _digest(data: str, *names: str) -> str:
    """Of the data, and of networks by reference."""
    networks = networks_digest(*names)
    return hashlib.sha256(f"{data} {networks}".encode()).hexdigest()[:16] if networks else data
