"""What a command takes on a device that is not at hand: from costs of steps in steps of the plain student, and the time of such a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from kdarena.method.student import Student
from kdarena.plan.allocation import LADDER, RUN_OVERHEAD, TRIAL_OVERHEAD
from kdarena.plan.amounts import Amount
from kdarena.plan.budget import share_out, spend
from kdarena.plan.curve import SHARE as CURVE_SHARE
from kdarena.plan.estimate import BUILD_S, PROFILES_LONGER, STEP_COST
from kdarena.plan.levels import DEFAULT_SEEDS
from kdarena.plan.profile_rule import ProfileRule
from kdarena.plan.request import Request
from kdarena.plan.spec import PhaseCost
from kdarena.plan.specs import TEACHER_SHARE
from kdarena.plan.tuning import TRIAL_SHARE, TUNING_SHARE
from kdarena.tracks.card import TaskCard

Source = Literal["measured", "elsewhere", "counted", "assumed"]
"""Where the cost of a method's steps comes from, the most trusted first: measured on a device of the kind, measured on another, its operations over the
student's, none of them."""
SOURCES: tuple[Source, ...] = ("measured", "elsewhere", "counted", "assumed")
LEAST_COST = 0.01
"""Of a step, in steps of the plain student: one without counted operations takes time as well."""


@dataclass(frozen=True)
class StepCosts:
    """What steps of a method cost.

    Attributes:
        phases: each with the ``cost`` of a step in steps of the plain student.
    """

    phases: tuple[PhaseCost, ...]
    source: Source


@dataclass(frozen=True)
class DeviceTask:
    """A task on a device.

    Attributes:
        costs: by method, the plain student among them.
        teachers: that are trained, each with the cost of a training step in steps of the plain student.
        student_s: seconds of a step of the plain student, alone on the device.
        student_flops: of it.
    """

    card: TaskCard
    costs: Mapping[str, StepCosts]
    teachers: Sequence[float]
    student_s: float
    student_flops: float

    @property
    def steps_per_epoch(self) -> int:
        """Steps that see each training sample once."""
        return max(1, self.card.train // self.card.recipe.batch_size)

    def steps(self, method: str, amount: Amount) -> tuple[int, ...]:
        """Steps of each phase that a budget buys."""
        phases = self.costs[method].phases
        if amount.currency == "epochs":
            return share_out([replace(phase, cost=1 / self.steps_per_epoch) for phase in phases], amount.value)
        return share_out(phases, self._student_steps(amount))

    def seconds(self, method: str, amount: Amount) -> float:
        """Seconds of a run, alone on the device."""
        return spend(self.costs[method].phases, self.steps(method, amount)) * self.student_s

    def teacher_seconds(self, request: Request) -> float:
        """Seconds that all teachers together take, each alone on the device."""
        return sum(self._teacher_epochs(request, cost) * cost for cost in self.teachers) * self.steps_per_epoch * self.student_s

    def _teacher_epochs(self, request: Request, cost: float) -> float:
        """Epochs of a teacher, as :class:`kdarena.arena.teachers.Teachers` decides them."""
        recipe, budget = self.card.recipe.teacher_epochs, request.teacher_budget
        if budget is None and (self.card.embedded or request.protocol == "published"):
            return recipe
        stated, share = (request.budget, TEACHER_SHARE) if budget is None else (budget, 1.0)
        assert stated is not None
        if stated.currency == "epochs":
            return share * stated.value if budget is not None else min(recipe, share * stated.value)
        return min(recipe, share * self._student_steps(stated) / cost / self.steps_per_epoch)

    def _student_steps(self, amount: Amount) -> float:
        """Steps of the plain student that an amount buys."""
        of_one = {"s": self.student_s, "se": 1 / self.steps_per_epoch, "flop": self.student_flops, "epochs": 1 / self.steps_per_epoch}
        return amount.value / of_one[amount.currency]


@dataclass(frozen=True)
class Hours:
    """Seconds on one device of the parts of a command, each run alone on it.

    Attributes:
        tuning, finals: by method; the controls along the ladder count to the student.
        profiles: which are never side by side.
    """

    teachers: float
    profiles: float
    tuning: Mapping[str, float]
    finals: Mapping[str, float]

    @property
    def runs(self) -> float:
        """Of all that can be side by side."""
        return self.teachers + sum(self.tuning.values()) + sum(self.finals.values())

    def total(self, gain: float = 1.0, devices: int = 1) -> float:
        """Of everything.

        Args:
            gain: how many times as fast runs side by side end as one after the other.
        """
        return (self.profiles + self.runs / gain) / devices


def hours(request: Request, task: DeviceTask, rule: ProfileRule) -> Hours:
    """What a command with a stated budget takes on a task.

    Args:
        rule: of its cost profiles.
    """
    assert request.budget is not None
    a_run = {method: task.seconds(method, request.budget) for method in task.costs}
    seeds = request.seeds or DEFAULT_SEEDS
    settings = seeds * (2 if request.both and request.tunes else 1)
    further, jobs = request.ladder.of_a_seed(len(a_run))
    rungs, rung_jobs = further / len(a_run), jobs / len(a_run)
    finals = {method: settings * ((1 + CURVE_SHARE + rungs) * seconds + (1 + rung_jobs) * RUN_OVERHEAD) for method, seconds in a_run.items()}
    student = Student.method.name
    finals[student] += seeds * (sum(LADDER) * a_run[student] + len(LADDER) * RUN_OVERHEAD)
    tuning = {method: _tuning(request, task, method, seconds) for method, seconds in a_run.items()}
    return Hours(task.teacher_seconds(request), _profiles(task, rule), tuning, finals)


def _tuning(request: Request, task: DeviceTask, method: str, a_run: float) -> float:
    if not request.tunes:
        return 0.0
    seconds = TUNING_SHARE * a_run if request.tuning_budget is None else task.seconds(method, request.tuning_budget)
    return seconds + seconds / (TRIAL_SHARE * a_run) * TRIAL_OVERHEAD * RUN_OVERHEAD


def _profiles(task: DeviceTask, rule: ProfileRule) -> float:
    phases = [phase.cost * task.student_s for costs in task.costs.values() for phase in costs.phases]
    return sum(rule.seconds(task.student_s, step, PROFILES_LONGER) for step in phases) + rule.fewest_parts * BUILD_S * len(task.costs)


def counted(phases: Sequence[PhaseCost], student_flops: float) -> StepCosts:
    """Costs by operations, in those of the plain student's step."""
    return StepCosts(tuple(replace(phase, cost=max(phase.flops / student_flops, LEAST_COST), relative=None, error=None) for phase in phases), "counted")


def measured(phases: Sequence[PhaseCost], source: Source) -> StepCosts | None:
    """Costs as they were measured on some device; None where time was not."""
    if any(phase.relative is None for phase in phases):
        return None
    return StepCosts(tuple(replace(phase, cost=max(phase.relative or 0.0, LEAST_COST)) for phase in phases), source)


def assumed() -> StepCosts:
    """What is taken for a method of which nothing is known: the methods' mean."""
    return StepCosts((PhaseCost("train", None, 1.0, STEP_COST, None, None, 0),), "assumed")
