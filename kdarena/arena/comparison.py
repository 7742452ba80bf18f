"""A task with its profiled methods and its allocation: the methods, compared under one budget."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kdarena.arena.method_runs import MethodRuns, purpose_of
from kdarena.arena.profiles import ProfiledTask
from kdarena.arena.teachers import Teachers
from kdarena.errors import BudgetTooSmall
from kdarena.method.declaration import REFERENCE, TeacherSpec
from kdarena.plan.allocation import LADDER, TRIAL_SHARE, Allocation, check_budget, enough_for_all
from kdarena.plan.budget import minimum_amount
from kdarena.plan.entrants import Entrant
from kdarena.plan.spec import Budget, PhaseCost, RunResult, RunSpec
from kdarena.plan.specs import run_spec


@dataclass(frozen=True)
class Comparison:
    """A task whose methods are profiled, and what was allocated to it.

    Attributes:
        task: with its teachers and cost profiles.
        allocation: seeds and budgets.
        costs: of each method's steps, in the unit of the allocation.
        swept: the method that the command sweeps, or None.
    """

    task: ProfiledTask
    allocation: Allocation
    costs: Mapping[str, tuple[PhaseCost, ...]]
    swept: str | None = None

    def too_small(self, named: bool) -> dict[str, str]:
        """Methods for which the budget is too small, each with the reason; raises ``BudgetTooSmall`` where the user named one."""
        return check_budget(self.task.runnable, self.costs, self.allocation, named)

    def runs_of(self, entrant: Entrant, teachers: Teachers) -> MethodRuns:
        """What a method's runs are made of; raises ``BudgetTooSmall`` where its teachers, if charged, cost too much."""
        name, task = entrant.method.name, self.task
        allocation = _charged(entrant, task, self.allocation, self.costs[name], teachers) if teachers.request.charge_teacher else self.allocation
        latency_ms = task.profiles[name].latency_ms
        return MethodRuns(entrant, task.conditions, task.teacher_keys, self.costs[name], allocation, self.allocation.amount, latency_ms, self.swept)

    def broken_row(self, entrant: Entrant) -> RunSpec:
        """The spec under which the board says that a method is broken."""
        return self._row(entrant, self.task.teacher_keys)

    def skipped_row(self, entrant: Entrant) -> RunSpec:
        """The spec under which the boards of the task, whatever their reference teacher, say that a method is skipped."""
        return self._row(replace(entrant, teachers=()), {REFERENCE: ""})

    def _row(self, entrant: Entrant, teacher_keys: Mapping[TeacherSpec, str]) -> RunSpec:
        budget = Budget(self.allocation.amount, self.allocation.unit)
        return run_spec(entrant, self.task.conditions, teacher_keys, (), budget, purpose=purpose_of(entrant, self.swept), seed=0)

    def facts(self, entrant: Entrant) -> dict[str, str]:
        """What the record says of a row without runs."""
        return self.task.conditions.facts(self.allocation.amount, entrant.named)

    def announcement(self, refused: Mapping[str, str]) -> list[str]:
        """What the user reads before the runs start."""
        name = self.task.conditions.card.name
        allocation = enough_for_all(self.costs, refused, self.allocation)
        tuning = f"{allocation.tuning:.4g} {allocation.unit} to tune each method" if allocation.tuning else "no tuning"
        amount = f"{allocation.amount:.4g} {allocation.unit}"
        stated = "" if f"{allocation.amount:g}{allocation.unit}" == allocation.stated else f" ({allocation.stated})"
        budget = f"budget of a run {amount}{stated}; {allocation.seeds} seeds; {tuning}"
        return [f"{name}: {line}" for line in (budget, *allocation.notes)]

    def expected_jobs(self, methods: int) -> int:
        """About how many runs so many methods make together with the student's shorter ones."""
        finals = self.allocation.seeds * (2 if self.allocation.tuning else 1)
        trials = int(self.allocation.tuning / (TRIAL_SHARE * self.allocation.amount) + 1e-9)
        return methods * (finals + trials) + finals * len(LADDER)


def _charged(entrant: Entrant, task: ProfiledTask, allocation: Allocation, costs: Sequence[PhaseCost], teachers: Teachers) -> Allocation:
    """The allocation of a method less what its teachers cost."""
    if not entrant.teachers:
        return allocation
    spent = sum(teachers.amount(task.teacher_keys[teacher], allocation.unit) for teacher in entrant.teachers)
    left = allocation.amount - spent
    if left < minimum_amount(costs):
        raise BudgetTooSmall(
            f"--charge-teacher: the teachers of {entrant.method.name} cost {spent:.4g} {allocation.unit}, the budget is {allocation.amount:.4g}; raise --budget, shorten --teacher-budget or leave the method out"
        )
    return replace(allocation, amount=left)


def detectable_note(task: ProfiledTask, teachers: Mapping[str, RunResult], seeds: int) -> tuple[str, ...]:
    """The smallest difference that the board will be able to detect, from the spread of the task's teachers that differ in their seed alone."""
    from kdarena.board.statistics import detectable_difference

    metric = f"test/{task.conditions.card.metric}"
    values = [
        teachers[key].metrics[metric]
        for teacher, key in task.teacher_keys.items()
        if replace(teacher, member=0) == REFERENCE and teachers[key].steps and metric in teachers[key].metrics
    ]
    if len(values) < 2 or seeds < 2:
        return ()
    difference = detectable_difference(statistics.stdev(values) * 2**0.5, seeds)
    if difference is None:
        return ()
    return (f"with {seeds} seeds the board can detect differences of about {difference:.2g} points or more (from the spread of {len(values)} teachers)",)
