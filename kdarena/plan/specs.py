"""Specs: the values of the runs, cost profiles and boards of a task."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from kdarena.method.declaration import REFERENCE, TeacherSpec
from kdarena.method.student import Student
from kdarena.params import tunables
from kdarena.plan.comparison import Board
from kdarena.plan.cost import TIME_LIMIT, CostProfile, PhaseProfile, ProfileSpec
from kdarena.plan.entrants import Entrant
from kdarena.plan.machine import Machine
from kdarena.plan.request import Request
from kdarena.plan.spec import Budget, PhaseCost, Purpose, RunSpec, Unit, digest
from kdarena.tracks.card import TaskCard

TEACHER_SEED = 2_000_003
"""Of the pool's first member: no teacher shares split, start and batches with a final run's student."""
TRIAL_SEED = 1_000_003
"""Trials run on a seed that no final run uses."""
TEACHER_SHARE = 4.0
"""On tasks that are not embedded a teacher is trained for at most so many budgets of a run, unless --teacher-budget says otherwise."""


@dataclass(frozen=True)
class Ground:
    """What all runs of a command on one task share."""

    card: TaskCard
    machine: Machine
    precision: Literal["fp32", "bf16"]
    data: str
    protocol: Literal["validated", "published"]
    metrics: tuple[str, ...] = ()


def profile_spec(entrant: Entrant, ground: Ground, keys: Mapping[TeacherSpec, str], *, timed: bool, limit: float = TIME_LIMIT, audit: str = "") -> ProfileSpec:
    """The profile of a method on a task, of at most ``limit`` seconds a phase; or the audit of a board."""
    known = tunables(entrant.method.Params)
    return ProfileSpec(
        task=ground.card.name,
        method=entrant.method.name,
        source=entrant.found.source,
        params={name: value for name, value in entrant.params.items() if known[name].cost},
        teachers=tuple((teacher, keys[teacher]) for teacher in entrant.teachers),
        protocol=ground.protocol,
        data=ground.data,
        precision=ground.precision,
        device=ground.machine.kind,
        threads=ground.machine.threads,
        timed=timed,
        limit=limit,
        audit=audit,
    )


def phase_costs(profile: CostProfile, unit: Unit, student_s: float | None) -> tuple[PhaseCost, ...]:
    """The costs that a run commits by."""
    return tuple(
        PhaseCost(measure.phase, measure.steps, measure.share, profile.unit_cost(measure, unit, student_s), measure.relative, measure.error, measure.flops)
        for measure in profile.phases
    )


def run_spec(
    entrant: Entrant,
    ground: Ground,
    keys: Mapping[TeacherSpec, str],
    costs: tuple[PhaseCost, ...],
    budget: Budget,
    *,
    purpose: Purpose,
    seed: int,
) -> RunSpec:
    """A run of a method with what the user fixed."""
    return RunSpec(
        task=ground.card.name,
        method=entrant.method.name,
        source=entrant.found.source,
        purpose=purpose,
        seed=seed,
        budget=budget,
        costs=costs,
        params=entrant.params,
        recipe=entrant.recipe,
        teachers=tuple((teacher, keys[teacher]) for teacher in entrant.teachers),
        reference=keys[REFERENCE],
        start=keys[REFERENCE] if ground.card.start == "teacher" else None,
        metric_groups=ground.metrics if purpose in ("final", "control") else (),
        protocol=ground.protocol,
        data=ground.data,
        precision=ground.precision,
        device=ground.machine.kind,
        threads=ground.machine.threads,
    )


def trained_as(teacher: TeacherSpec, ground: Ground) -> TeacherSpec:
    """A teacher with the name of its architecture, as its training knows it."""
    return dataclasses.replace(teacher, architecture=ground.card.architecture(teacher.architecture))


def teacher_run(teacher: TeacherSpec, ground: Ground, epochs: float, measured: PhaseProfile) -> RunSpec:
    """The training of a teacher: a run of the plain student's method on the teacher's network, for so many epochs of what is trained on."""
    cost = PhaseCost("train", None, 1.0, measured.epochs, None, None, measured.flops)
    trains, card = trained_as(teacher, ground), ground.card
    own_rate = card.recipe.teacher_lr is not None and trains.architecture != card.student
    return RunSpec(
        task=ground.card.name,
        method=Student.method.name,
        source="",
        purpose="teacher",
        seed=TEACHER_SEED + teacher.member,
        budget=Budget(epochs, "epochs"),
        costs=(cost,),
        recipe={"lr": card.recipe.teacher_lr} if own_rate else {},  # type: ignore[dict-item]
        trains=trains,
        protocol=ground.protocol,
        data=ground.data,
        precision=ground.precision,
        device=ground.machine.kind,
        threads=ground.machine.threads,
    )


def board(ground: Ground, keys: Mapping[TeacherSpec, str], amount: float, unit: Unit) -> Board:
    """The board that final runs of a budget stand on."""
    machine = ground.machine
    return Board(ground.card.name, amount, unit, ground.protocol, machine.kind, ground.precision, machine.threads, ground.data, keys[REFERENCE])


def request_digest(request: Request, ground: Ground, entrants: Sequence[Entrant], limit: float) -> str:
    """Names a command on a task, so that the same command finds what was chosen for it.

    Args:
        limit: seconds of a profile, which say how many methods on how many tasks share the command's time.
    """
    # a task's part of the time depends on the others; a stated budget doesn't
    beside = sorted(request.tasks.split(",")) if request.budget is None else []
    amounts = [amount and [amount.value, amount.currency] for amount in (request.budget, request.tuning_budget, request.teacher_budget)]
    return digest(
        {
            "task": ground.card.name,
            "beside": beside,
            "limit": limit,
            "methods": {entrant.method.name: [entrant.found.source, dict(entrant.params), dict(entrant.recipe)] for entrant in entrants},
            "budget": [*amounts, request.seeds, request.total],
            "ground": [ground.machine.kind, len(ground.machine.devices), ground.precision, ground.data, ground.protocol],
            "teacher": [request.teacher_checkpoint, request.charge_teacher],
        }
    )
