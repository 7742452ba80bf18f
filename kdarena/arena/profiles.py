"""What comes before a task's runs: its trained teachers, and what the steps of its methods cost."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kdarena.arena.recorder import Recorder
from kdarena.arena.teachers import Teachers
from kdarena.errors import UserError
from kdarena.method.declaration import REFERENCE, TeacherSpec
from kdarena.method.student import Student
from kdarena.plan.allocation import NO_LADDER, RUN_OVERHEAD, least_amount, run_seconds
from kdarena.plan.conditions import Conditions
from kdarena.plan.cost import CostProfile, ProfileSpec, StudentStep, student_step_key
from kdarena.plan.entrants import Entrant
from kdarena.plan.ladder import Ladder
from kdarena.plan.levels import Level
from kdarena.plan.profile_rule import rule_of
from kdarena.plan.spec import PhaseCost, RunResult, Status, Unit
from kdarena.plan.specs import phase_costs, profile_spec
from kdarena.plan.stored import StoredCosts

STUDENT = Student.method.name
"""The method whose step is the unit of relative costs."""


@dataclass(frozen=True)
class ProfiledTask:
    """A task whose teachers are trained and whose methods' step costs are measured.

    Attributes:
        conditions: what all runs on the task share.
        entrants: all methods of the command, with those that are skipped.
        runnable: those with a cost profile.
        teacher_keys: digests of the teachers' weights.
        profiles: by method, the plain student's among them.
        student_s: seconds of a step of the plain student, in which all costs are counted; None where time was not measured.
        broken: status and error of methods whose declaration raises or whose step cost could not be measured.
        timed: whether seconds were measured, and not operations alone.
        overhead: seconds that a run is expected to take in addition to its training.
        ladder: what is trained after the final runs.
        stored: profiles of the steps of the methods that can look up outputs of their teachers, by method.
        set_up_s: its part of the seconds that teachers took whose length the recipe fixes, and which do not count into a total time that is to be shared out.
    """

    conditions: Conditions
    entrants: tuple[Entrant, ...]
    runnable: tuple[Entrant, ...]
    teacher_keys: Mapping[TeacherSpec, str]
    profiles: Mapping[str, CostProfile]
    student_s: float | None
    broken: Mapping[str, tuple[Status, str]]
    timed: bool
    overhead: float
    set_up_s: float
    ladder: Ladder = NO_LADDER
    stored: Mapping[str, CostProfile] = field(default_factory=dict)

    def stored_costs(self, unit: Unit) -> dict[str, StoredCosts]:
        """What they cost in a unit, with the filling, by method."""
        return {name: StoredCosts(phase_costs(profile, unit, self.student_s), self.profiles[name].read) for name, profile in self.stored.items()}

    def costs(self, unit: Unit) -> dict[str, tuple[PhaseCost, ...]]:
        """What a step of each method costs in a unit, by method."""
        return {name: phase_costs(profile, unit, self.student_s) for name, profile in self.profiles.items()}

    def least_seconds(self, level: Level, workers: int) -> float:
        """Seconds that the task's runs need at least."""
        costs = self.costs("s")
        return run_seconds(costs, least_amount(costs), level, self.overhead, ladder=self.ladder) / workers


def profile_tasks(teachers: Teachers, entered: Sequence[Sequence[Entrant]], conditions: Sequence[Conditions]) -> Iterator[ProfiledTask]:
    """Train the teachers of all tasks together, and then measure the step costs of the methods of each task in turn.

    Args:
        entered: the methods of each task.

    Raises:
        UserError: a teacher can't be trained, or the step cost of the plain student can't be measured.
    """
    runnable = [[entrant for entrant in entrants if entrant.runs] for entrants in entered]
    for given, methods in zip(conditions, runnable, strict=True):
        places = f"{len(given.machine.devices)} at a time on {given.machine.kind}"
        teachers.recorder.display.say(f"{given.card.name}: {len(methods)} methods, {places}, {given.precision}")
    started = time.monotonic()
    keys = teachers.train(list(zip(runnable, conditions, strict=True)))
    seconds = (time.monotonic() - started) / len(conditions)
    for entrants, given, known in zip(entered, conditions, keys, strict=True):
        yield _profile_task(teachers, entrants, given, known, seconds if given.card.embedded else 0.0)


def _profile_task(
    teachers: Teachers, entrants: Sequence[Entrant], conditions: Conditions, teacher_keys: Mapping[TeacherSpec, str], set_up_s: float
) -> ProfiledTask:
    """Measure the step costs of a task's methods."""
    request, recorder, card = teachers.request, teachers.recorder, conditions.card
    runnable = [entrant for entrant in entrants if entrant.runs]
    timed = request.budget is None or request.budget.currency in ("s", "se")
    stores = request.teacher_outputs == "auto"
    profiles, failed = _measure(recorder, runnable, conditions, teacher_keys, timed=timed, brief=stores)
    if STUDENT not in profiles:
        raise UserError(f"the step cost of the plain student can't be measured on {card.name}: {failed[STUDENT].error}")
    # a method that does not fit the networks is as little applicable as one that does not fit the card
    unfit = {name: profile.error for name, profile in failed.items() if profile.status == "skipped"}
    broken = _broken(entrants, {name: profile for name, profile in failed.items() if name not in unfit})
    for name, (status, error) in broken.items():
        recorder.note_failure(card.name, name, status, error)
    return ProfiledTask(
        conditions,
        entrants=tuple(replace(entrant, skip=unfit.get(entrant.method.name, entrant.skip)) for entrant in entrants),
        runnable=tuple(entrant for entrant in entrants if entrant.method.name in profiles),
        teacher_keys=teacher_keys,
        profiles=profiles,
        student_s=_student_seconds(recorder, profiles, teacher_keys[REFERENCE]) if timed else None,
        broken=broken,
        timed=timed,
        overhead=_overhead(teachers.results[teacher_keys[REFERENCE]]),
        set_up_s=set_up_s,
        ladder=request.ladder,
        stored=_measure_stored(recorder, runnable, conditions, teacher_keys, profiles, timed=timed) if stores else {},
    )


def _measure_stored(
    recorder: Recorder,
    entrants: Sequence[Entrant],
    conditions: Conditions,
    teacher_keys: Mapping[TeacherSpec, str],
    live: Mapping[str, CostProfile],
    *,
    timed: bool,
) -> dict[str, CostProfile]:
    """The cost profile of every method that reads what can be looked up, of steps that look it up.

    Args:
        live: the profiles of steps that call the teachers, which say what is read.
    """
    reading = {entrant.method.name: entrant for entrant in entrants if entrant.method.name in live and any(live[entrant.method.name].read)}
    specs = {name: replace(profile_spec(entrant, conditions, teacher_keys, timed=timed), stored=live[name].read) for name, entrant in reading.items()}
    measured = _profiles(recorder, specs, conditions, "methods with stored outputs of their teachers")
    reasons: dict[str, list[str]] = {}
    for name, profile in measured.items():
        if profile.status != "done":
            reasons.setdefault(profile.error or profile.status, []).append(name)
    for reason, names in reasons.items():
        recorder.display.say(f"{conditions.card.name}: {', '.join(names)}: {reason}")
    return {name: profile for name, profile in measured.items() if profile.status == "done"}


def _profiles(recorder: Recorder, specs: Mapping[str, ProfileSpec], conditions: Conditions, what: str, *, brief: bool = False) -> dict[str, CostProfile]:
    """Cost profiles by method, each measured alone on its device.

    Args:
        what: is measured, for the user.
        brief: as in :func:`kdarena.plan.profile_parts.needs_another`.
    """
    new = [spec for spec in specs.values() if recorder.store.profile(spec.key) is None]
    if new:
        recorder.display.say(f"{conditions.card.name}: measuring the step costs of {len(new)} {what}")
    recorder.display.expect(sum(rule_of(spec.device).fewest_parts if spec.timed else 1 for spec in new))
    return dict(zip(specs, recorder.profiles(list(specs.values()), brief=brief), strict=True))


def _student_seconds(recorder: Recorder, profiles: Mapping[str, CostProfile], reference: str) -> float:
    """Seconds of a step of the plain student: the median over all profiles, each of which measured it in turn with its method.

    An output directory decides it once: with one more method the median is another one, and every run would have another key.
    """
    key = student_step_key(profiles[STUDENT].key, reference)
    kept = recorder.store.student_step(key)
    if kept is None:
        kept = StudentStep(statistics.median(profile.student_s for profile in profiles.values() if profile.student_s is not None))
        recorder.store.keep_student_step(key, kept)
    return kept.seconds


def _measure(
    recorder: Recorder, entrants: Sequence[Entrant], conditions: Conditions, teacher_keys: Mapping[TeacherSpec, str], *, timed: bool, brief: bool
) -> tuple[dict[str, CostProfile], dict[str, CostProfile]]:
    """The cost profile of every method: those that are done, and those that failed or do not apply."""
    specs = {entrant.method.name: profile_spec(entrant, conditions, teacher_keys, timed=timed) for entrant in entrants}
    measured = _profiles(recorder, specs, conditions, "methods", brief=brief)
    failed = {name: profile for name, profile in measured.items() if profile.status != "done"}
    return {name: profile for name, profile in measured.items() if name not in failed}, failed


def _broken(entrants: Sequence[Entrant], failed: Mapping[str, CostProfile]) -> dict[str, tuple[Status, str]]:
    """Status and error of each method that has no runs since something went wrong."""
    kept: dict[str, Status] = {"oom": "oom", "timeout": "timeout", "killed": "killed"}
    broken = {name: (kept.get(profile.status, "error"), str(profile.error)) for name, profile in failed.items()}
    return broken | {entrant.method.name: ("error", entrant.fault) for entrant in entrants if entrant.fault is not None}


def _overhead(reference: RunResult) -> float:
    """Seconds in addition to its training that the reference teacher's own run took, or the least that a run is planned with."""
    return max(RUN_OVERHEAD, sum(reference.system.get(name, 0.0) for name in ("build_s", "evaluation_s")))
