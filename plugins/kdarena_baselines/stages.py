"""Which stage of the student learns from which stage of the teacher, as the methods on feature maps share it."""

import re
from collections.abc import Iterable

MOST = 4
"""Stages that the public benchmark pairs at most: it leaves out the first of five, whose grid is the image's."""


LEVEL = re.compile(r"p[1-9]")
"""A map of a detector's feature pyramid, by its level; it has no ReLU behind it."""


def pairs(student: Iterable[str], teacher: Iterable[str], count: int = MOST) -> list[tuple[str, str]]:
    """Stages of student and teacher by name, shallow to deep: the last of both belong together, the ones before them, and so on.

    Counted from the deep end because networks of unequal numbers of stages agree there; with ``count=MOST`` they are the
    public benchmark's pairs for all its architectures.

    Of detectors the levels of the feature pyramid are paired, fine to coarse, and not the stages below it.

    Args:
        student, teacher: names of their stages, shallow to deep.
        count: how many pairs at most.
    """
    ours, theirs = ([name for name in names if LEVEL.fullmatch(name)] or names for names in (list(student), list(teacher)))
    kept = min(count, len(ours), len(theirs))
    return list(zip(ours[len(ours) - kept :], theirs[len(theirs) - kept :], strict=True))
