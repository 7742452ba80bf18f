"""What is known of the costs of steps on a device before anything is measured there: from the record, else by counting operations here."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from kdarena.arena.display import PlainDisplay
from kdarena.arena.untrained import untrained_profiles
from kdarena.method.declaration import REFERENCE, TeacherSpec
from kdarena.method.student import Student
from kdarena.params import tunables
from kdarena.plan.conditions import COMPILED_FROM, Conditions
from kdarena.plan.cost import CostProfile
from kdarena.plan.device_hours import DeviceTask, StepCosts, assumed, counted, measured
from kdarena.plan.entrants import Entrant, teachers_of
from kdarena.plan.estimate import STEP_COST
from kdarena.plan.machine import Machine, find_machine
from kdarena.plan.request import Request
from kdarena.plan.spec import COMPLETE, PhaseCost
from kdarena.plan.specs import phase_costs
from kdarena.plan.stated_rates import StatedRate, Way, rate_for
from kdarena.record.recorded import RecordedRun
from kdarena.tracks.card import TaskCard

STUDENT = Student.method.name
MOST_WORKERS = 8
"""That count operations: each holds the data and the networks."""


@dataclass(frozen=True)
class Recorded:
    """What the runs of a record say of a task's steps.

    Attributes:
        phases: by method, as profiled on a device of the kind where there are such, else on another.
        on_device: methods whose time was measured on a device of the kind.
        student_s: seconds of a step of the plain student on it.
        device_name: its model.
    """

    phases: Mapping[str, tuple[PhaseCost, ...]] = field(default_factory=dict)
    on_device: frozenset[str] = frozenset()
    student_s: float | None = None
    device_name: str = ""


def recorded_costs(runs: Sequence[RecordedRun], card: TaskCard, entrants: Sequence[Entrant], kind: str, device_name: str) -> Recorded:
    """What a record says, by the last runs of each method with the code and the cost-relevant parameters that it has now.

    Args:
        kind, device_name: of the device; an empty name: of the last model of the kind that has runs.
    """
    of_task = [run for run in runs if run.spec.task == card.name and run.spec.purpose in ("final", "tune", "control")]
    there = [run for run in of_task if run.spec.device == kind and run.spec.device_name == (device_name or run.spec.device_name)]
    name = there[-1].spec.device_name if there else device_name
    there = [run for run in there if run.spec.device_name == name]
    on_device = {entrant.method.name: costs for entrant in entrants if (costs := _last(there, entrant))}
    timed = {method for method, costs in on_device.items() if measured(costs, "measured") is not None}
    anywhere = {entrant.method.name: costs for entrant in entrants if (costs := _last(of_task, entrant))}
    return Recorded({**anywhere, **on_device}, frozenset(timed), _student_seconds(there), name)


def _last(runs: Sequence[RecordedRun], entrant: Entrant) -> tuple[PhaseCost, ...]:
    known = tunables(entrant.method.Params)

    def relevant(params: Mapping[str, object]) -> dict[str, object]:
        return {name: value for name, value in params.items() if name in known and known[name].cost and value != known[name].default}

    wanted = relevant(entrant.params)
    return next(
        (
            run.spec.costs
            for run in reversed(runs)
            if run.spec.method == entrant.method.name and run.spec.source == entrant.plugin.source and relevant(run.spec.params) == wanted
        ),
        (),
    )


def _student_seconds(runs: Sequence[RecordedRun]) -> float | None:
    """Seconds of a step of the plain student: as its runs were priced, else as they took."""
    own = [run for run in runs if run.spec.method == STUDENT and run.result.status in COMPLETE]
    priced = [run.spec.costs[0].cost for run in own if run.spec.budget.unit == "s" and run.spec.costs]
    took = [run.result.spent_s / run.result.steps for run in own if run.result.steps]
    return priced[-1] if priced else statistics.median(took) if took else None


@dataclass(frozen=True)
class Known:
    """What is known of a task on a device.

    Attributes:
        task: with the costs of all methods that run there.
        unfit: methods that do not, with the reason that their hooks gave.
        rate, way: the stated rate that suits the plain student, and how steps are taken.
        timed: whether the plain student's step is in the record, and not by that rate.
        device_name: the model, as far as it is known.
    """

    task: DeviceTask
    unfit: Mapping[str, str]
    rate: StatedRate
    way: Way
    timed: bool
    device_name: str


def known_costs(
    request: Request, card: TaskCard, entrants: Sequence[Entrant], runs: Sequence[RecordedRun], machine: Machine, display: PlainDisplay
) -> Known | None:
    """What is known of a task on a machine's devices; None where not even the operations of the plain student can be counted here.

    Args:
        entrants: that run.
        runs: of the record.
        display: shows the counting of operations.
    """
    found = recorded_costs(runs, card, entrants, machine.kind, machine.name)
    teachers = [teacher for teacher in teachers_of(entrants) if teacher != REFERENCE or not request.gives_teacher(card)]
    trained = {name: flops for name, flops in _teacher_flops(runs, card).items() if name in {card.architecture(teacher.architecture) for teacher in teachers}}
    new = [entrant for entrant in entrants if entrant.method.name not in found.phases]
    further = [TeacherSpec(name) for name in dict.fromkeys(card.architecture(teacher.architecture) for teacher in teachers) if name not in trained]
    profiles = _counted_here(request, card, new, further, display) if new or further else {}
    phases = {**found.phases, **{name: phase_costs(profile, "flop", None) for name, profile in profiles.items() if profile.status == "done"}}
    if STUDENT not in phases:
        return None
    flops = float(phases[STUDENT][0].flops)
    trained |= {teacher.architecture: float(phases[teacher.architecture][0].flops) for teacher in further if teacher.architecture in phases}
    unfit = {entrant.method.name: str(profiles[entrant.method.name].error) for entrant in new if not _done(profiles, entrant)}
    costs = {entrant.method.name: _step_costs(found, phases, entrant, flops) for entrant in entrants if entrant.method.name not in unfit}
    prices = [trained.get(card.architecture(teacher.architecture), STEP_COST * flops) / flops for teacher in teachers]
    rate = rate_for(flops)
    task = DeviceTask(card, costs, prices, found.student_s or rate.student_seconds(flops, "captured"), flops)
    way = _way(request, task)
    if found.student_s is None:
        task = replace(task, student_s=rate.student_seconds(flops, way))
    return Known(task, unfit, rate, way, found.student_s is not None, found.device_name)


def _way(request: Request, task: DeviceTask) -> Way:
    """How a command takes its steps on CUDA."""
    assert request.budget is not None
    long = task.seconds(STUDENT, request.budget) > COMPILED_FROM
    compiled = long and request.compile == "auto"
    if request.capture == "off":
        return "compiled" if compiled else "eager"
    return "compiled and captured" if compiled else "captured"


def _step_costs(found: Recorded, phases: Mapping[str, tuple[PhaseCost, ...]], entrant: Entrant, student_flops: float) -> StepCosts:
    name = entrant.method.name
    known = measured(found.phases[name], "measured" if name in found.on_device else "elsewhere") if name in found.phases else None
    return known or (counted(phases[name], student_flops) if name in phases else assumed())


def _done(profiles: Mapping[str, CostProfile], entrant: Entrant) -> bool:
    profile = profiles.get(entrant.method.name)
    return profile is None or profile.status == "done"


def _teacher_flops(runs: Sequence[RecordedRun], card: TaskCard) -> dict[str, float]:
    """Operations of a training step of each recorded teacher, by its architecture."""
    return {run.spec.trains.architecture: float(run.spec.costs[0].flops) for run in runs if run.spec.task == card.name and run.spec.trains is not None}


def _counted_here(
    request: Request, card: TaskCard, entrants: Sequence[Entrant], trainings: Sequence[TeacherSpec], display: PlainDisplay
) -> dict[str, CostProfile]:
    """Counted operations of a step of each method and of each teacher's training, on this machine's CPU; over made-up data where the task's are not here.

    Empty where there are neither.
    """
    made_up = card.missing(request.data_root) is not None
    if made_up and not card.made_up:
        return {}
    here = find_machine("cpu", None)
    machine = Machine("cpu", here.devices[:MOST_WORKERS], here.threads, False)  # of no name: what is counted is the same on any
    conditions = Conditions(card, machine, "fp32", "", request.protocol)
    return untrained_profiles(entrants, conditions, request, timed=False, trainings=trainings, made_up=made_up, display=display)
