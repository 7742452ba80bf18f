"""Messy collaboration: wrong labels for the teacher in its training, for the student in its own, or for both.

Arani, Sarfraz, Zonooz: "Improving Generalization and Robustness with Noisy Collaboration in Knowledge Distillation", 2019,
https://arxiv.org/abs/1910.05057v1

S(x), T(x): logits of student and teacher [P, C]; S^τ, T^τ: their softmax at temperature τ; y: labels [P]; ỹ: labels of which each
is replaced with probability p by a class drawn uniformly, anew at every step (recalled, not read again).

    the teacher's training:  CE(ỹ, T(x))                              ``messy-teacher``, ``messy``; else CE(y, T(x))
    the student's:           L = (1 − a) · CE(ỹ, S(x)) + a · τ² · KL(T^τ(x) ‖ S^τ(x))   ``messy-student``, ``messy``; else y

The new class is one of the C − 1 others, or with ``redraw_true`` one of all C, so that p (C − 1) / C of the labels are wrong.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from kdarena import Flag, Float, Method, Step, TaskCard, TeacherSpec, Terms, hookimpl, losses
from kdarena_noisy.distillation import FIRST_VERSION, NoisyParams, distillation


@dataclass(frozen=True)
class MessyStudentParams(NoisyParams):
    """And how many labels are wrong."""

    p: float = Float(0.1, 0.0, 0.8, least=0, most=1, source="ours", help="probability that a label is replaced")
    redraw_true: bool = Flag(False, source="ours", help="the new class is drawn from all classes, the true one among them")


@dataclass(frozen=True)
class MessyTeacherParams(MessyStudentParams):
    """The same; another probability means another teacher."""

    p: float = Float(0.1, 0.0, 0.8, least=0, most=1, source="ours", cost=True, help="probability that a label is replaced")
    redraw_true: bool = Flag(False, source="ours", cost=True, help="the new class is drawn from all classes, the true one among them")


def messy_teacher(card: TaskCard, params: MessyTeacherParams) -> Sequence[TeacherSpec]:
    """The task's teacher, trained with wrong labels.

    The pool's corruption draws one of the other classes. To draw from all C with probability p is to draw from the others
    with p (C − 1) / C.
    """
    share = (card.classes - 1) / card.classes if params.redraw_true else 1.0
    return (TeacherSpec(corruption=params.p * share),)


class MessyTeacher:
    """A teacher that learned from wrong labels, a student that learns from the true ones."""

    method = Method(
        "messy-teacher",
        "messy collaboration: distillation from a teacher trained with wrong labels",
        FIRST_VERSION,
        Params=MessyTeacherParams,
        teachers=messy_teacher,
    )
    params: MessyTeacherParams

    @hookimpl
    def loss(self, step: Step) -> Terms:
        """CE and KL with the true labels."""
        return distillation(step, step.student, self.params)


class MessyStudent:
    """The reference teacher, a student that learns from wrong labels."""

    method = Method("messy-student", "messy collaboration: distillation with wrong labels for the student", FIRST_VERSION, Params=MessyStudentParams)
    params: MessyStudentParams

    @hookimpl
    def loss(self, step: Step) -> Terms:
        """CE with this step's wrong labels, and KL."""
        messy = losses.corrupted(step.targets, step.task.classes, self.params.p, step.run.generator, self.params.redraw_true)
        return distillation(step, step.student, self.params, labels=messy)


class Messy(MessyStudent):
    """Wrong labels for both, drawn apart."""

    method = dataclasses.replace(MessyTeacher.method, name="messy", title="messy collaboration: wrong labels for teacher and student")
    params: MessyTeacherParams
