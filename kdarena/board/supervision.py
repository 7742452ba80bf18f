"""The class of supervision of a row: from whom its method learned in addition to labels."""

from __future__ import annotations

from kdarena.board.variants import Variant
from kdarena.method.declaration import TeacherSpec
from kdarena.record.declarations import Declaration


def supervision(variant: Variant, method: Declaration | None) -> str | None:
    """The class of what a method took in addition to labels, as it was seen to take it, and as it declares it where none of its runs says.

    None for a method that was skipped, whose teachers were never asked for.
    """
    if variant.skipped:
        return None
    teachers: list[TeacherSpec] = [teacher for teacher, _ in variant.first.spec.teachers]
    given = {0: "none", 1: "one teacher"}.get(len(teachers), f"{len(teachers)} teachers")
    if any(teacher.special for teacher in teachers):
        given = "special teacher"
    declared = {"teacher's weights": method.inherits, "auxiliary data": method.auxiliary} if method is not None else {}
    taken = {one for run in variant.finished for one in run.result.taken} or {what for what, so in declared.items() if so}
    if "own teacher" in taken:
        given = "own teacher" if not teachers else f"{given} and its own"
    if "teacher's weights" in taken:
        given += ", its weights"
    return f"{given}, extra data" if "auxiliary data" in taken else given
