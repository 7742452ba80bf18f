"""What comes before a task's runs, its trained teachers and the step costs of its methods; and what comes after: the audit."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kdarena.arena.recorder import Recorder
from kdarena.arena.teachers import Teachers
from kdarena.errors import UserError
from kdarena.method.declaration import REFERENCE, TeacherSpec
from kdarena.method.student import Student
from kdarena.plan.allocation import RUN_OVERHEAD, least_seconds
from kdarena.plan.budget import share_out
from kdarena.plan.comparison import planned_board
from kdarena.plan.conditions import Conditions
from kdarena.plan.cost import CostProfile
from kdarena.plan.entrants import Entrant
from kdarena.plan.spec import PhaseCost, RunResult, Status, Unit
from kdarena.plan.specs import phase_costs, profile_spec

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
        broken: status and error of methods whose declaration raises or whose step cost could not be measured.
        timed: whether seconds were measured, and not operations alone.
        limit: seconds that each profile could take.
        overhead: seconds that a run is expected to take in addition to its training.
        set_up_s: seconds that teachers took whose length the recipe fixes, and which do not count into a total time that is to be shared out.
    """

    conditions: Conditions
    entrants: tuple[Entrant, ...]
    runnable: tuple[Entrant, ...]
    teacher_keys: Mapping[TeacherSpec, str]
    profiles: Mapping[str, CostProfile]
    broken: Mapping[str, tuple[Status, str]]
    timed: bool
    limit: float
    overhead: float
    set_up_s: float

    def costs(self, unit: Unit) -> dict[str, tuple[PhaseCost, ...]]:
        """What a step of each method costs in a unit, by method."""
        student_s = self.profiles[STUDENT].student_s
        return {name: phase_costs(profile, unit, student_s) for name, profile in self.profiles.items()}

    def audit_seconds(self, workers: int) -> float:
        """About what the audits will take: half a profile each phase, and what building takes."""
        seconds = sum(min(1.3, 0.5 * self.limit) * len(profile.phases) + 0.2 for profile in self.profiles.values())
        return seconds / workers + 2.0

    def least_seconds(self, seeds: int, workers: int) -> float:
        """Seconds that the task's runs and audits need at least."""
        return least_seconds(self.costs("s"), seeds, self.overhead) / workers + self.audit_seconds(workers)


def profile_task(teachers: Teachers, entrants: Sequence[Entrant], conditions: Conditions, limit: float) -> ProfiledTask:
    """Train a task's teachers and measure the step costs of its methods.

    Raises:
        UserError: a teacher can't be trained, or the step cost of the plain student can't be measured.
    """
    request, recorder = teachers.request, teachers.recorder
    card, machine = conditions.card, conditions.machine
    runnable = [entrant for entrant in entrants if entrant.runs]
    recorder.display.say(f"{card.name}: {len(runnable)} methods, {len(machine.devices)} at a time on {machine.kind}, {conditions.precision}")
    started = time.monotonic()
    teacher_keys = teachers.train(runnable, conditions)
    set_up_s = time.monotonic() - started if card.embedded else 0.0
    timed = request.budget is None or request.budget.currency in ("s", "se")
    profiles, failed = _measure(recorder, runnable, conditions, teacher_keys, timed=timed, limit=limit)
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
        broken=broken,
        timed=timed,
        limit=limit,
        overhead=_overhead(teachers.results[teacher_keys[REFERENCE]]),
        set_up_s=set_up_s,
    )


def audit(recorder: Recorder, task: ProfiledTask, entrants: Sequence[Entrant], costs: Mapping[str, Sequence[PhaseCost]], amount: float, unit: Unit) -> None:
    """Measure the step cost of every method that ran once more; the board shows its ratio to the first.

    Args:
        costs: by which the runs were committed.
        amount, unit: the budget of the board.
    """
    board = planned_board(task.conditions, task.teacher_keys, amount, unit).key
    audits, _ = _measure(recorder, entrants, task.conditions, task.teacher_keys, timed=task.timed, limit=task.limit, audited=board)
    named, ratios = {entrant.method.name: entrant.named for entrant in entrants}, {}
    for name, profile in audits.items():
        steps = share_out(costs[name], amount)
        before, after = (_spent(steps, measured, task.timed) for measured in (task.profiles[name], profile))
        ratios[f"{name} {named[name]}".strip()] = after / before
    recorder.store.keep_audits(board, ratios)


def _measure(
    recorder: Recorder,
    entrants: Sequence[Entrant],
    conditions: Conditions,
    teacher_keys: Mapping[TeacherSpec, str],
    *,
    timed: bool,
    limit: float,
    audited: str = "",
) -> tuple[dict[str, CostProfile], dict[str, CostProfile]]:
    """The cost profile of every method, each measured alone on its device: those that are done, and those that failed or do not apply."""
    specs = {entrant.method.name: profile_spec(entrant, conditions, teacher_keys, timed=timed, limit=limit, audit=audited) for entrant in entrants}
    new = [spec for spec in specs.values() if recorder.store.profile(spec.key) is None]
    if new:
        again = " again, as an audit" if audited else ""
        recorder.display.say(f"{conditions.card.name}: measuring the step costs of {len(new)} methods{again}")
    recorder.display.expect(len(new))
    measured = dict(zip(specs, recorder.profiles(list(specs.values())), strict=True))
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


def _spent(steps: Sequence[int], profile: CostProfile, timed: bool) -> float:
    """What so many steps of each phase cost by a profile: in steps of the plain student, or in operations."""
    prices = [(phase.relative if timed else phase.flops) or 0.0 for phase in profile.phases]
    return sum(count * price for count, price in zip(steps, prices, strict=True))
