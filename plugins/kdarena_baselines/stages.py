"""Which stage of the student learns from which stage of the teacher, as the methods on feature maps share it."""

from collections.abc import Iterable

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
