"""Fickle teacher: a teacher whose dropout stays alive while it teaches.

Arani, Sarfraz, Zonooz: "Noise as a Resource for Learning in Knowledge Distillation", WACV 2021, https://arxiv.org/abs/1910.05057

T_ξ(x): the teacher's logits [P, C] under a dropout mask ξ, drawn anew for every sample and step.

    L = (1 − a) · CE(y, S(x)) + a · τ² · KL(T_ξ^τ(x) ‖ S^τ(x))

The teacher was trained with the same dropout in its residual blocks. Its batch norm keeps the statistics of its training;
the student has no dropout but its architecture's own. Without dropout (p = 0) it is distillation from the reference teacher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from torch.nn.modules.dropout import _DropoutNd

from kdarena import ROWS, Float, Method, NotApplicable, TeacherSpec, hookimpl
from kdarena_noisy.distillation import PAPER, NoisyParams, distillation, refuse_weights

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kdarena import Run, Step, TaskCard


@dataclass(frozen=True)
class FickleParams(NoisyParams):
    """And the teacher's dropout."""

    dropout: float = Float(0.4, 0.0, 0.6, source="code", cost=True, help="p, dropout in the teacher, in its training and as it teaches")


def teachers(card: TaskCard, params: FickleParams) -> Sequence[TeacherSpec]:
    """The task's teacher, trained with dropout."""
    return (TeacherSpec(dropout=params.dropout),)


def applies(card: TaskCard, params: FickleParams) -> str | None:
    """Why it can't run on a task, or None."""
    if not 0 <= params.dropout < 1:
        return f"dropout is a probability below 1; it is {params.dropout:g}"
    if params.dropout and not card.teacher_dropout:
        return f"it needs a teacher with dropout; {card.teacher} has none"
    return refuse_weights(params)


def revive_dropout(teacher: nn.Module, probability: float) -> int:
    """Put the dropout of that probability, and nothing else of a network in eval mode, into train mode; returns how many modules there are.

    Dropout of another probability is the architecture's own: it was not asked for, and stays silent as in any other teacher.
    """
    alive = [module for module in teacher.modules() if isinstance(module, _DropoutNd) and module.p == probability]
    for module in alive:
        module.train()
    return len(alive)


class Fickle:
    """The student hears another opinion of its teacher at every step."""

    method = Method(
        name="fickle",
        title="distillation from a teacher whose dropout stays alive",
        paper=PAPER,
        equations="L = (1 - a) CE(y, S(x)) + a tau^2 KL(T_xi^tau(x) || S^tau(x)), xi: a fresh dropout mask",
        extended=ROWS,
        Params=FickleParams,
        teachers=teachers,
        applies=applies,
    )

    @hookimpl
    def build_teacher(self, params: FickleParams, run: Run) -> nn.Module:
        """The declared teacher with its dropout alive; without dropout nothing is touched."""
        (teacher,) = run.teachers
        # dropout as a function inside forward() follows the network's own mode and would stay silent
        if params.dropout > 0 and not revive_dropout(teacher, params.dropout):
            raise NotApplicable(f"the teacher has no Dropout module of probability {params.dropout:g} to keep alive")
        return teacher

    @hookimpl
    def loss(self, step: Step) -> Mapping[str, Tensor]:
        """CE, and KL to the teacher under this step's mask."""
        return distillation(step, step.student, cast(FickleParams, step.params))
