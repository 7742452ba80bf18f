"""The plain student, trained without distillation: the harness's own plugin, whose four hooks are every method's defaults.

L = the task's loss of the student: cross-entropy with the labels in classification
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from kdarena.losses import corrupted
from kdarena.method.contract import Phase, hookimpl
from kdarena.method.declaration import NO_TEACHER, Method, Paper, no_teachers
from kdarena.method.learner import Learner
from kdarena.method.run import Run
from kdarena.method.step import Step


class Student:
    """What a method inherits: the teachers it declared, the task's student, the task's loss, one phase."""

    method = Method(
        name="student",
        title="the student trained alone, without distillation",
        paper=Paper("Deep Residual Learning for Image Recognition (the recipe of the plain student)", "CVPR", 2016, "https://arxiv.org/abs/1512.03385"),
        tracks=("classification", "segmentation", "detection", "text", "speech"),
        requires=(),
        teachers=no_teachers,
    )

    @hookimpl
    def build_teacher(self, run: Run) -> Any:
        """All declared teachers; one alone as a module."""
        if not run.teachers:
            return NO_TEACHER
        return run.teachers[0] if len(run.teachers) == 1 else run.teachers

    @hookimpl
    def build_student(self, run: Run) -> Learner:
        """The task's student, no helpers."""
        return Learner(run.new_student())

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """The task's loss; of a teacher that is trained with corrupted labels, on those."""
        trains, targets = step.run.trains, step.targets
        if trains is not None and trains.corruption:
            targets = corrupted(targets, step.task.classes, trains.corruption, step.run.generator)
        return {"task": step.task.loss(step.student, targets)}

    @hookimpl
    def schedule(self) -> Sequence[Phase]:
        """One phase with one update over everything the learner trains."""
        return [Phase("train")]
