"""Which stage of the student learns from which stage of the teacher, as the methods on feature maps share it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdarena import TaskCard

MOST = 4
"""Stages that the public benchmark pairs at most: it leaves out the first of five, whose grid is the image's."""


def pairs(student: Iterable[str], teacher: Iterable[str], count: int = MOST) -> list[tuple[str, str]]:
    """Stages of student and teacher by name, shallow to deep: the last of both belong together, the ones before them, and so on.

    Counted from the deep end because networks of unequal numbers of stages agree there; with ``count=MOST`` they are the
    public benchmark's pairs for all its architectures.

    Args:
        student, teacher: names of their stages, shallow to deep.
        count: how many pairs at most.
    """
    ours, theirs = list(student), list(teacher)
    kept = min(count, len(ours), len(theirs))
    return list(zip(ours[len(ours) - kept :], theirs[len(theirs) - kept :], strict=True))


def needs_feature_maps(card: TaskCard, params: Any) -> str | None:
    """Why a method on feature maps can't run on a task, or None."""
    return None if card.feature_maps else "it distils feature maps [B, C, H, W], which the task's networks do not have"
