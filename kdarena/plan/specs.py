"""Makes the specs of a task's cost profiles and runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from kdarena.method.declaration import REFERENCE, TeacherSpec
from kdarena.method.student import Student
from kdarena.params import tunables
from kdarena.plan.conditions import Conditions
from kdarena.plan.cost import CostProfile, PhaseProfile, ProfileSpec
from kdarena.plan.entrants import Entrant
from kdarena.plan.spec import Budget, PhaseCost, Purpose, RunSpec, Unit

TEACHER_SEED = 2_000_003
"""Of the pool's first member: no teacher shares split, start and batches with a final run's student."""
TRIAL_SEED = 1_000_003
"""Trials run on a seed that no final run uses."""
TEACHER_SHARE = 4.0
"""On tasks that are not embedded a teacher is trained for at most so many budgets of a run, unless --teacher-budget says otherwise."""


def profile_spec(entrant: Entrant, conditions: Conditions, teacher_keys: Mapping[TeacherSpec, str], *, timed: bool) -> ProfileSpec:
    """The cost profile of a method on a task."""
    known = tunables(entrant.method.Params)
    return ProfileSpec(
        task=conditions.card.name,
        method=entrant.method.name,
        source=entrant.plugin.source,
        params={name: value for name, value in entrant.changed_params.items() if known[name].cost},
        teachers=tuple((teacher, teacher_keys[teacher]) for teacher in entrant.teachers),
        protocol=conditions.protocol,
        data=conditions.data,
        precision=conditions.precision,
        views=conditions.views,
        **conditions.platform,
        timed=timed,
        capture=conditions.capture,
        compiled=conditions.compiled,
    )


def phase_costs(profile: CostProfile, unit: Unit, student_s: float | None) -> tuple[PhaseCost, ...]:
    """The costs that a run commits by."""
    return tuple(
        PhaseCost(phase.phase, phase.steps, phase.share, profile.unit_cost(phase, unit, student_s), phase.relative, phase.error, phase.flops)
        for phase in profile.phases
    )


def run_spec(
    entrant: Entrant,
    conditions: Conditions,
    teacher_keys: Mapping[TeacherSpec, str],
    costs: tuple[PhaseCost, ...],
    budget: Budget,
    *,
    purpose: Purpose,
    seed: int,
) -> RunSpec:
    """A run of a method with what the user fixed."""
    return RunSpec(
        task=conditions.card.name,
        method=entrant.method.name,
        source=entrant.plugin.source,
        purpose=purpose,
        seed=seed,
        budget=budget,
        costs=costs,
        params=entrant.changed_params,
        recipe=entrant.changed_recipe,
        teachers=tuple((teacher, teacher_keys[teacher]) for teacher in entrant.teachers),
        reference=teacher_keys[REFERENCE],
        start=teacher_keys[REFERENCE] if conditions.card.start == "teacher" else None,
        metric_groups=conditions.metrics if purpose in ("final", "control") else (),
        compiled=conditions.compiled,
        protocol=conditions.protocol,
        data=conditions.data,
        precision=conditions.precision,
        views=conditions.views,
        **conditions.platform,
        capture=conditions.capture,
    )


def trained_as(teacher: TeacherSpec, conditions: Conditions) -> TeacherSpec:
    """A teacher with the name of its architecture, as its training knows it."""
    return dataclasses.replace(teacher, architecture=conditions.card.architecture(teacher.architecture))


def given_teacher(conditions: Conditions, weights: str) -> RunSpec:
    """The scoring of the user's own teacher, by the digest of its weights."""
    return RunSpec(
        task=conditions.card.name,
        method=Student.method.name,
        source="",
        purpose="given",
        seed=TEACHER_SEED,
        budget=Budget(0.0, "epochs"),
        costs=(),
        start=weights,
        protocol=conditions.protocol,
        data=conditions.data,
        precision=conditions.precision,
        views=conditions.views,
        **conditions.platform,
    )


def teacher_run(teacher: TeacherSpec, conditions: Conditions, epochs: float, profile: PhaseProfile) -> RunSpec:
    """The training of a teacher: a run of the plain student's method on the teacher's network, for so many epochs of what is trained on."""
    cost = PhaseCost("train", None, 1.0, profile.epochs, None, None, profile.flops)
    trains, card = trained_as(teacher, conditions), conditions.card
    own_rate = card.recipe.teacher_lr is not None and trains.architecture != card.student
    return RunSpec(
        task=conditions.card.name,
        method=Student.method.name,
        source="",
        purpose="teacher",
        seed=TEACHER_SEED + teacher.member,
        budget=Budget(epochs, "epochs"),
        costs=(cost,),
        recipe={"lr": card.recipe.teacher_lr} if own_rate else {},  # type: ignore[dict-item]
        trains=trains,
        protocol=conditions.protocol,
        data=conditions.data,
        precision=conditions.precision,
        views=conditions.views,
        **conditions.platform,
        capture=conditions.capture,
    )
