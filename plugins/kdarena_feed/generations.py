"""Generations: the networks of one run, each new and taught by the one before, which is frozen.

None takes over weights of the one before. Where a task's students start from its reference teacher's weights, all generations
start from those.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from kdarena import NO_TEACHER, Learner, Phase

if TYPE_CHECKING:
    from torch import nn

    from kdarena import Outputs, Run, Step

Helpers = dict[str, "nn.Module"]


def phases(count: int, new_helpers: Callable[[Run, nn.Module], Helpers]) -> list[Phase]:
    """One phase of equal share a generation, ``generation0`` without a teacher.

    Args:
        count: of networks, the first, plainly trained one included.
        new_helpers: builds what learns along with the student of a later generation, given the run and that student.
    """
    return [Phase(f"generation{k}", begin=partial(_begin, generation=k, new_helpers=new_helpers)) for k in range(count)]


def predecessor(step: Step) -> Outputs:
    """What the generation before says of the student's inputs: it learned from the same, also where a given teacher sees others."""
    (teacher,) = step.run.teacher_modules()
    return step.forward(teacher, step.inputs)


def _begin(run: Run, *, generation: int, new_helpers: Callable[[Run, nn.Module], Helpers]) -> None:
    """A new student with the start of the task's students; the same when it is called again, since the teacher is looked up by generation."""
    students: dict[int, nn.Module] = run.store.setdefault("students", {})
    student = students[generation] = run.new_student(generation=generation)
    if generation == 0:
        run.teacher = NO_TEACHER
        run.learner = Learner(student)
    else:
        run.set_teacher(students[generation - 1])
        run.learner = Learner(student, new_helpers(run, student))
