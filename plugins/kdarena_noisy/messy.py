"""Messy collaboration: wrong labels for the teacher in its training, for the student in its own, or for both.

Arani, Sarfraz, Zonooz: "Improving Generalization and Robustness with Noisy Collaboration in Knowledge Distillation", 2019,
https://arxiv.org/abs/1910.05057v1

y: labels [P]; ỹ: labels of which each is replaced with probability p by a class drawn uniformly, anew at every step.

    the teacher's training:  CE(ỹ, T(x))                              ``messy-teacher``, ``messy``; else CE(y, T(x))
    the student's:           L = (1 − a) · CE(ỹ, S(x)) + a · τ² · KL(T^τ(x) ‖ S^τ(x))   ``messy-student``, ``messy``; else y

The new class is one of the C − 1 others, or with ``redraw_true`` one of all C, so that p (C − 1) / C of the labels are wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from kdarena import REFERENCE, Flag, Float, Method, TeacherSpec, hookimpl, losses
from kdarena_noisy.distillation import FIRST_VERSION, NoisyParams, distillation, refuse_weights

if TYPE_CHECKING:
    from torch import Tensor

    from kdarena import Step, TaskCard


@dataclass(frozen=True)
class MessyStudentParams(NoisyParams):
    """And how many labels are wrong."""

    p: float = Float(0.1, 0.0, 0.8, source="ours", help="probability that a label is replaced")
    redraw_true: bool = Flag(False, source="ours", help="the new class is drawn from all classes, the true one among them")


@dataclass(frozen=True)
class MessyTeacherParams(MessyStudentParams):
    """The same; another probability means another teacher."""

    p: float = Float(0.1, 0.0, 0.8, source="ours", cost=True, help="probability that a label is replaced")
    redraw_true: bool = Flag(False, source="ours", cost=True, help="the new class is drawn from all classes, the true one among them")


def messy_teacher(card: TaskCard, params: MessyStudentParams) -> Sequence[TeacherSpec]:
    """The task's teacher, trained with wrong labels.

    The pool's corruption draws one of the other classes. To draw from all C with probability p is to draw from the others
    with p (C − 1) / C.
    """
    share = (card.classes - 1) / card.classes if params.redraw_true else 1.0
    return (TeacherSpec(corruption=params.p * share),)


def clean_teacher(card: TaskCard, params: MessyStudentParams) -> Sequence[TeacherSpec]:
    """The task's reference teacher."""
    return (REFERENCE,)


def applies(card: TaskCard, params: MessyStudentParams) -> str | None:
    """Why it can't run on a task, or None."""
    if not 0 <= params.p <= 1:
        return f"p is a probability, in [0, 1]; it is {params.p:g}"
    return refuse_weights(params)


class MessyTeacher:
    """A teacher that was told wrong labels, a student that is told the true ones."""

    method = Method(
        name="messy-teacher",
        title="messy collaboration: distillation from a teacher trained with wrong labels",
        paper=FIRST_VERSION,
        equations="teacher: CE(y~, T(x)); L = (1 - a) CE(y, S(x)) + a tau^2 KL(T^tau(x) || S^tau(x)), y~: y, replaced with probability p",
        Params=MessyTeacherParams,
        teachers=messy_teacher,
        applies=applies,
    )

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """CE and KL with the true labels."""
        return distillation(step, step.student, cast(MessyTeacherParams, step.params))


class MessyStudent:
    """The reference teacher, a student that is told wrong labels."""

    method = Method(
        name="messy-student",
        title="messy collaboration: distillation with wrong labels for the student",
        paper=FIRST_VERSION,
        equations="L = (1 - a) CE(y~, S(x)) + a tau^2 KL(T^tau(x) || S^tau(x)), y~: y, replaced with probability p",
        Params=MessyStudentParams,
        teachers=clean_teacher,
        applies=applies,
    )

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """CE with this step's wrong labels, and KL."""
        params = cast(MessyStudentParams, step.params)
        messy = losses.corrupted(step.targets, step.task.classes, params.p, step.run.generator, params.redraw_true)
        return distillation(step, step.student, params, labels=messy)


class Messy(MessyStudent):
    """Wrong labels for both, drawn apart."""

    method = Method(
        name="messy",
        title="messy collaboration: wrong labels for teacher and student",
        paper=FIRST_VERSION,
        equations="teacher: CE(y~, T(x)); L = (1 - a) CE(y~, S(x)) + a tau^2 KL(T^tau(x) || S^tau(x)), y~: y, replaced with probability p",
        Params=MessyTeacherParams,
        teachers=messy_teacher,
        applies=applies,
    )
