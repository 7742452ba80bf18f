"""The plan: from a command to the values of its runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from kdarena.budget import Amount
from kdarena.calibrate import TIME_LIMIT, Calibration, CalibrationSpec, PhaseMeasure
from kdarena.contract import REFERENCE, Method, TeacherSpec
from kdarena.defaults import Defaults
from kdarena.devices import Machine
from kdarena.errors import described
from kdarena.params import Value, make_params, tunables
from kdarena.plugins import Found
from kdarena.spec import Budget, PhaseCost, Purpose, RunSpec, Unit, digest
from kdarena.tracks.card import TaskCard
from kdarena.variants import Board

TEACHER_SEED = 2_000_003
"""Of the pool's first member: no teacher shares split, start and batches with a final run's student."""
TRIAL_SEED = 1_000_003
"""Trials run on a seed that no final run uses."""
TEACHER_SHARE = 4.0
"""On tasks that are not embedded a teacher is trained for at most so many budgets of a run, unless --teacher-budget says otherwise."""


@dataclass(frozen=True)
class Request:
    """What the user asked for, as typed but checked; everything a plan depends on.

    ``swept`` names the method whose parameter is swept: its runs are controls, which never stand on a leaderboard.
    """

    plugins: str = "all"
    tasks: str = "all"
    budget: Amount | None = None
    tuning_budget: Amount | None = None
    teacher_budget: Amount | None = None
    seeds: int | None = None
    total: float | None = None
    device: str = "auto"
    workers: int | None = None
    precision: str = "auto"
    params: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    protocol: Literal["validated", "published"] = "validated"
    data_root: str | None = None
    teacher_checkpoint: str | None = None
    plugin_paths: tuple[str, ...] = ()
    charge_teacher: bool = False
    metrics: tuple[str, ...] = ()
    swept: str | None = None
    out: Path = Path("kdarena-out")


@dataclass(frozen=True)
class Entrant:
    """A method on a task, with what the user fixed.

    Attributes:
        params, recipe: fixed values of its own parameters and of the common knobs.
        teachers: what it takes from the pool.
        skip: why it does not run on the task, or None.
        fault: what its declaration raised, or None.
    """

    found: Found
    params: Mapping[str, Value]
    recipe: Mapping[str, float]
    teachers: tuple[TeacherSpec, ...]
    skip: str | None = None
    fault: str | None = None

    @property
    def runs(self) -> bool:
        """Whether there is nothing against it."""
        return self.skip is None and self.fault is None

    @property
    def method(self) -> Method:
        """Its declaration."""
        assert self.found.method is not None
        return self.found.method


@dataclass(frozen=True)
class Ground:
    """What all runs of a command on one task share."""

    card: TaskCard
    machine: Machine
    precision: Literal["fp32", "bf16"]
    data: str
    protocol: Literal["validated", "published"]
    metrics: tuple[str, ...] = ()


def enter(found: Sequence[Found], card: TaskCard, request: Request) -> list[Entrant]:
    """The methods of a command on one task, each with its teachers or the reason to skip it."""
    knobs = card.recipe.knobs()
    entrants = []
    for one in found:
        assert one.method is not None
        given = request.params.get(one.name, {})
        recipe = {name: float(value) for name, value in given.items() if name in knobs}
        own = {name: value for name, value in given.items() if name not in knobs}
        params = make_params(one.method.Params, own)
        skip = fault = None
        if not one.method.covers(card.track):
            skip = one.method.exclusion(card.track)
        elif card.output not in one.method.outputs:
            skip = f"its equations need scores of classes, and the task {card.name!r} has {card.output}"
        try:
            skip = skip or one.method.applies(card, params)
            teachers = () if skip else tuple(one.method.teachers(card, params))
        except Exception as error:
            teachers, fault = (), f"plugin {one.name!r}, its declaration: {described(error)}"
        entrants.append(Entrant(one, own, recipe, teachers, skip, fault))
    return entrants


def teachers_of(entrants: Sequence[Entrant]) -> list[TeacherSpec]:
    """The reference and every pool member that any method takes, each once."""
    wanted = [REFERENCE, *(teacher for entrant in entrants for teacher in entrant.teachers)]
    return list(dict.fromkeys(wanted))


def calibration_spec(
    entrant: Entrant, ground: Ground, keys: Mapping[TeacherSpec, str], *, timed: bool, limit: float = TIME_LIMIT, audit: str = ""
) -> CalibrationSpec:
    """The calibration of a method on a task, of at most ``limit`` seconds a phase; or the audit of a board."""
    known = tunables(entrant.method.Params)
    return CalibrationSpec(
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


def phase_costs(calibration: Calibration, unit: Unit, student_s: float | None) -> tuple[PhaseCost, ...]:
    """The costs that a run commits by."""
    return tuple(
        PhaseCost(measure.phase, measure.steps, measure.share, calibration.unit_cost(measure, unit, student_s), measure.relative, measure.error, measure.flops)
        for measure in calibration.phases
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


def teacher_run(teacher: TeacherSpec, ground: Ground, epochs: float, measured: PhaseMeasure) -> RunSpec:
    """The training of a teacher: a run of the plain student's method on the teacher's network, for so many epochs of what is trained on."""
    cost = PhaseCost("train", None, 1.0, measured.epochs, None, None, measured.flops)
    trains, card = trained_as(teacher, ground), ground.card
    own_rate = card.recipe.teacher_lr is not None and trains.architecture != card.student
    return RunSpec(
        task=ground.card.name,
        method=Defaults.method.name,
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
        limit: seconds of a calibration, which say how many methods on how many tasks share the command's time.
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
