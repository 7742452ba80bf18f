"""What stands before a task's runs: its teachers are trained and its methods profiled; and after them: the audit."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kdarena.arena.recorder import Ledger
from kdarena.arena.teachers import Pool
from kdarena.errors import UserError
from kdarena.method.declaration import REFERENCE, TeacherSpec
from kdarena.method.student import Student
from kdarena.plan.allocation import RUN_OVERHEAD, least_seconds
from kdarena.plan.budget import share_out
from kdarena.plan.cost import CostProfile
from kdarena.plan.entrants import Entrant
from kdarena.plan.machine import Machine
from kdarena.plan.spec import PhaseCost, Status, Unit
from kdarena.plan.specs import Ground, board, phase_costs, profile_spec
from kdarena.tracks.card import TaskCard

STUDENT = Student.method.name


@dataclass(frozen=True)
class Measured:
    """A task whose teachers are trained and whose methods are profiled.

    Attributes:
        entrants: all methods of the command, with those that are skipped.
        runnable: those with a profile.
        keys: of the teachers' checkpoints.
        profiles: by method, the plain student's among them.
        broken: status and error of methods whose declaration raises or that could not be profiled.
        timed: whether seconds were measured, and not operations alone.
        limit: seconds of a profile.
        overhead: seconds that a run is expected to cost beside its training.
        set_up_s: seconds that teachers took whose length the recipe fixes, and which don't count into a total time that is to be shared out.
    """

    ground: Ground
    entrants: tuple[Entrant, ...]
    runnable: tuple[Entrant, ...]
    keys: Mapping[TeacherSpec, str]
    profiles: Mapping[str, CostProfile]
    broken: Mapping[str, tuple[Status, str]]
    timed: bool
    limit: float
    overhead: float
    set_up_s: float

    def costs(self, unit: Unit) -> dict[str, tuple[PhaseCost, ...]]:
        """What a step of each method costs in a unit."""
        student_s = self.profiles[STUDENT].student_s
        return {name: phase_costs(one, unit, student_s) for name, one in self.profiles.items()}

    def audit_seconds(self, workers: int) -> float:
        """About what the audits will take: half a profile each phase, and what building takes."""
        seconds = sum(min(1.3, 0.5 * self.limit) * len(one.phases) + 0.2 for one in self.profiles.values())
        return seconds / workers + 2.0

    def least_seconds(self, seeds: int, workers: int) -> float:
        """Seconds that the task's runs and audits need at least."""
        return least_seconds(self.costs("s"), seeds, self.overhead) / workers + self.audit_seconds(workers)


def measure(pool: Pool, entrants: Sequence[Entrant], card: TaskCard, machine: Machine, limit: float) -> Measured:
    """Train a task's teachers and profile its methods.

    Raises:
        UserError: a teacher can't be trained, or the plain student can't be profiled.
    """
    request, ledger = pool.request, pool.ledger
    ground = Ground(
        card, machine, machine.precision(request.precision, card, request.protocol), card.digest(request.data_root), request.protocol, request.metrics
    )
    runnable = [entrant for entrant in entrants if entrant.runs]
    ledger.display.say(f"{card.name}: {len(runnable)} methods on {len(machine.devices)} x {machine.kind}, {ground.precision}")
    started = time.monotonic()
    keys = pool.train(runnable, ground)
    set_up_s = time.monotonic() - started if card.embedded else 0.0
    timed = request.budget is None or request.budget.currency in ("s", "se")
    done, failed = _profile(ledger, runnable, ground, keys, timed=timed, limit=limit)
    if STUDENT not in done:
        raise UserError(f"the plain student can't be profiled on {card.name}: {failed[STUDENT].error}")
    # what only the networks show makes a method as little applicable as what the card shows
    unfit = {name: one.error for name, one in failed.items() if one.status == "skipped"}
    broken: dict[str, tuple[Status, str]] = {
        name: ("oom" if one.status == "oom" else "error", str(one.error)) for name, one in failed.items() if name not in unfit
    }
    broken |= {entrant.method.name: ("error", entrant.fault) for entrant in entrants if entrant.fault is not None}
    for name, (status, error) in broken.items():
        ledger.failures[f"{card.name} {name}"] = f"{card.name} {name}: {status}: {error}"
    entrants = [replace(entrant, skip=unfit.get(entrant.method.name, entrant.skip)) for entrant in entrants]
    runnable = [entrant for entrant in entrants if entrant.method.name in done]
    return Measured(ground, tuple(entrants), tuple(runnable), keys, done, broken, timed, limit, _overhead(ledger, keys[REFERENCE]), set_up_s)


def audit(ledger: Ledger, entrants: Sequence[Entrant], measured: Measured, costs: Mapping[str, Sequence[PhaseCost]], amount: float, unit: Unit) -> None:
    """Measure every method once more, beside the student; the ratio stands on the board."""
    audited = board(measured.ground, measured.keys, amount, unit).key
    again, _ = _profile(ledger, entrants, measured.ground, measured.keys, timed=measured.timed, limit=measured.limit, audited=audited)
    ratios = {}
    for name, one in again.items():
        steps = share_out(costs[name], amount)
        prices = [
            (before.relative, after.relative) if measured.timed else (before.flops, after.flops)
            for before, after in zip(measured.profiles[name].phases, one.phases, strict=True)
        ]
        ratios[name] = _spent_on(steps, [after for _, after in prices]) / _spent_on(steps, [before for before, _ in prices])
    ledger.store.keep_audits(audited, ratios)


def _profile(
    ledger: Ledger, entrants: Sequence[Entrant], ground: Ground, keys: Mapping[TeacherSpec, str], *, timed: bool, limit: float, audited: str = ""
) -> tuple[dict[str, CostProfile], dict[str, CostProfile]]:
    """Measure every method, each alone on its device: those that were measured, and those that failed or turned out not to apply."""
    specs = {entrant.method.name: profile_spec(entrant, ground, keys, timed=timed, limit=limit, audit=audited) for entrant in entrants}
    new = [spec for spec in specs.values() if ledger.store.profile(spec.key) is None]
    if new:
        ledger.display.say(f"{ground.card.name}: {'auditing' if audited else 'profiling'} {len(new)} methods")
    ledger.display.expect(len(new), None)
    measured = dict(zip(specs, ledger.profiles(list(specs.values())), strict=True))
    failed = {name: one for name, one in measured.items() if one.status != "done"}
    return {name: one for name, one in measured.items() if name not in failed}, failed


def _overhead(ledger: Ledger, reference: str) -> float:
    """Seconds beside its training that the reference teacher's own run took, or the least that a run is planned with."""
    teacher = ledger.recorded.get(reference)
    measured = 0.0 if teacher is None else sum(teacher.system.get(name, 0.0) for name in ("build_s", "evaluation_s"))
    return max(RUN_OVERHEAD, measured)


def _spent_on(steps: Sequence[int], prices: Sequence[float | None]) -> float:
    """So many steps at these prices."""
    return sum(count * (price or 0.0) for count, price in zip(steps, prices, strict=True))
