"""Generations: the networks of one run, each new and taught by the one before, which is frozen.

None takes over weights of the one before. Where a task's students start from its reference teacher's weights, all generations
start from those.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from torch import nn

from kdarena import NO_TEACHER, Int, Learner, Outputs, Params, Phase, Run, Step, hookimpl


@dataclass(frozen=True)
class GenerationParams(Params):
    """Number of generations."""

    generations: int = Int(3, 2, 5, least=2, source="ours", cost=True, help="networks trained in turn, the plain first one included")


class Generations:
    """The hooks of a method that trains generations: one phase of equal share each, ``generation0`` without a teacher.

    Attributes:
        students: the networks so far, by generation.
    """

    params: GenerationParams

    def __init__(self) -> None:
        self.students: dict[int, nn.Module] = {}

    @hookimpl
    def schedule(self) -> Sequence[Phase]:
        """A phase a generation."""
        return [Phase(f"generation{k}", prepare=partial(self.begin, k)) for k in range(self.params.generations)]

    def begin(self, generation: int, run: Run) -> None:
        """A new student with the start of the task's students; the same when it is called again, since the teacher is looked up by generation."""
        student = self.students[generation] = run.new_student(generation=generation)
        if generation == 0:
            run.teacher = NO_TEACHER
            run.learner = Learner(student)
        else:
            run.set_teacher(self.students[generation - 1])
            run.learner = Learner(student, self.new_helpers(run, student))

    def new_helpers(self, run: Run, student: nn.Module) -> dict[str, nn.Module]:
        """What learns along with the student of a later generation."""
        return {}

    def predecessor(self, step: Step) -> Outputs:
        """Outputs of the generation before for the student's inputs: it learned from the same, also where a given teacher sees others."""
        (teacher,) = step.run.teacher_modules()
        return step.forward(teacher, step.inputs)
