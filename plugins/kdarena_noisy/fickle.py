"""Fickle teacher: a teacher whose dropout stays active while it teaches.

Arani, Sarfraz, Zonooz: "Noise as a Resource for Learning in Knowledge Distillation", WACV 2021, https://arxiv.org/abs/1910.05057

S(x): logits of the student [P, C]; T_ξ(x): the teacher's [P, C] under a dropout mask ξ, drawn anew for every sample and step;
S^τ, T_ξ^τ: their softmax at temperature τ; y: labels.

    L = (1 − a) · CE(y, S(x)) + a · τ² · KL(T_ξ^τ(x) ‖ S^τ(x)), mean over P

The teacher was trained with the same dropout in its residual blocks. Its batch norm keeps the statistics of its training;
the student has no dropout but its architecture's own. Without dropout (p = 0) it is distillation from the reference teacher.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from kdarena import ROWS, Float, Method, NotApplicable, Run, Step, TaskCard, TeacherSpec, Terms, hookimpl
from kdarena_noisy.distillation import PAPER, NoisyParams, distillation


@dataclass(frozen=True)
class FickleParams(NoisyParams):
    """And the teacher's dropout."""

    dropout: float = Float(0.4, 0.0, 0.6, least=0, below=1, source="code", cost=True, help="p, dropout in the teacher, in its training and as it teaches")


def teachers(card: TaskCard, params: FickleParams) -> Sequence[TeacherSpec]:
    """The task's teacher, trained with dropout."""
    return (TeacherSpec(dropout=params.dropout),)


def applies(card: TaskCard, params: FickleParams) -> str | None:
    """Why it can't run on a task, or None."""
    return f"it needs a teacher with dropout; {card.teacher} has none" if params.dropout and not card.teacher_dropout else None


method = Method(
    "fickle",
    "distillation from a teacher whose dropout stays active",
    PAPER,
    extended=ROWS,
    Params=FickleParams,
    active_dropout=True,
    teachers=teachers,
    applies=applies,
)


def activate_dropout(teacher: nn.Module, probability: float) -> int:
    """Put the dropout of that probability, and nothing else of a network in eval mode, into train mode; returns how many modules there are.

    Dropout of another probability is the architecture's own: it was not asked for, and stays silent as in any other teacher.
    """
    active = [module for module in teacher.modules() if isinstance(module, _DropoutNd) and module.p == probability]
    for module in active:
        module.train()
    return len(active)


@hookimpl
def build_teacher(params: FickleParams, run: Run) -> nn.Module:
    """The declared teacher with its dropout active; without dropout nothing is touched."""
    (teacher,) = run.teachers
    # dropout as a function inside forward() follows the network's own mode and would stay silent
    if params.dropout > 0 and not activate_dropout(teacher, params.dropout):
        raise NotApplicable(f"the teacher has no Dropout module of probability {params.dropout:g} to keep active")
    return teacher


@hookimpl
def loss(step: Step, params: FickleParams) -> Terms:
    """CE, and KL to the teacher under this step's mask."""
    return distillation(step, step.student, params)
