"""The arena: the parent process, which plans, hands out runs, records them, and touches no training itself.

In this order, each through the same engine: teachers (trained as runs of their own), cost profiles (each alone on its
device), trials, final runs and controls, audits.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from kdarena.arena.comparison import Comparison, detectable_note
from kdarena.arena.method_runs import MethodRuns, work
from kdarena.arena.profiles import STUDENT, ProfiledTask, audit, profile_task
from kdarena.arena.recorder import Recorder
from kdarena.arena.teachers import Teachers
from kdarena.errors import BudgetTooSmall
from kdarena.method.plugin import Plugin
from kdarena.plan.allocation import DEFAULT_SEEDS, DEFAULT_TOTAL, Allocation, allocate, profile_limit, share_of_time
from kdarena.plan.comparison import request_digest
from kdarena.plan.entrants import entrants_of
from kdarena.plan.machine import Machine
from kdarena.plan.request import Request
from kdarena.tracks.card import TaskCard


@dataclass(frozen=True)
class Outcome:
    """What a command did.

    Attributes:
        failures: one line each.
        trained: number of runs.
        allocations: what each task got, in the order of the tasks.
    """

    failures: tuple[str, ...]
    trained: int
    allocations: tuple[Allocation, ...]


class Arena:
    """One command on its tasks."""

    def __init__(self, request: Request, recorder: Recorder, machine: Machine):
        self.request, self.recorder, self.machine = request, recorder, machine
        self.teachers = Teachers(request, recorder)

    def run(self, plugins: Sequence[Plugin], cards: Sequence[TaskCard], *, named: bool) -> Outcome:
        """Tune, train and record all methods on all tasks.

        Args:
            named: the user named the methods, so that a budget too small for one is an error and not a skipped row.
        """
        entered = [entrants_of(plugins, card, self.request) for card in cards]
        methods = sum(entrant.runs for entrants in entered for entrant in entrants)
        limit = profile_limit(self.request, methods, self.recorder.capacity)
        profiled = (profile_task(self.teachers, entrants, card, self.machine, limit) for entrants, card in zip(entered, cards, strict=True))
        allocations = tuple(self._compare(task, seconds, named) for task, seconds in self._with_time(profiled))
        return Outcome(tuple(self.recorder.failures.values()), self.recorder.trained, allocations)

    def _with_time(self, profiled: Iterable[ProfiledTask]) -> Iterator[tuple[ProfiledTask, float]]:
        """Each task with the seconds that its runs may take; where a budget is stated, they are not read."""
        if self.request.budget is not None:
            for task in profiled:
                yield task, 0.0
            return
        end = time.monotonic() + (self.request.total or DEFAULT_TOTAL)
        # what each task needs has to be known before time is shared out among them
        tasks = list(profiled)
        end += sum(task.set_up_s for task in tasks)
        needs = [task.least_seconds(self.request.seeds or DEFAULT_SEEDS, self.recorder.capacity) for task in tasks]
        for number, task in enumerate(tasks):
            methods = [len(other.profiles) for other in tasks[number:]]
            yield task, share_of_time(end - time.monotonic(), needs[number:], methods)

    def _compare(self, task: ProfiledTask, seconds: float, named: bool) -> Allocation:
        """Allocate, do all runs of a task, and audit them.

        Args:
            seconds: that it may take, where the user stated no budget.
        """
        comparison, refused = self._plan(task, seconds, named)
        for line in comparison.announcement(refused):
            self.recorder.display.say(line)
        running, refused = self._admit(comparison, refused, named)
        self._record_broken(comparison)
        self._record_skipped(comparison, refused)
        self.recorder.display.expect(comparison.expected_jobs(len(running)))
        self.recorder.schedule([work(runs) for runs in running])
        allocation = comparison.allocation
        if task.timed or allocation.unit == "flop":
            audit(self.recorder, task, [runs.entrant for runs in running], comparison.costs, allocation.amount, allocation.unit)
        return allocation

    def _plan(self, task: ProfiledTask, seconds: float, named: bool) -> tuple[Comparison, dict[str, str]]:
        """The comparison, as it was planned before by the same command or anew; and the methods that its budget is too small for."""
        key = request_digest(self.request, task.conditions, task.entrants, task.limit)
        allocation = self.recorder.store.allocation(key) or self._allocate(task, seconds)
        comparison = Comparison(task, allocation, task.costs(allocation.unit), self.request.swept)
        refused = comparison.too_small(named)
        self.recorder.store.keep_allocation(key, allocation)
        return comparison, refused

    def _allocate(self, task: ProfiledTask, seconds: float) -> Allocation:
        """Seeds, budget and trials for a task."""
        student, workers = task.profiles[STUDENT], self.recorder.capacity
        costs = task.costs("s") if task.timed else {}
        left = seconds - task.audit_seconds(workers)
        card = task.conditions.card
        allocation = allocate(self.request, card, costs, student.student_s, student.steps_per_epoch, left, workers, task.overhead)
        return replace(allocation, notes=(*allocation.notes, *detectable_note(task, self.teachers.results, allocation.seeds)))

    def _admit(self, comparison: Comparison, refused: Mapping[str, str], named: bool) -> tuple[list[MethodRuns], dict[str, str]]:
        """The methods that run, and the reasons against those that the budget, less what their teachers cost, is too small for."""
        running, reasons = [], dict(refused)
        for entrant in comparison.task.runnable:
            try:
                runs = comparison.runs_of(entrant, self.teachers)
            except BudgetTooSmall as error:
                if named:
                    raise
                reasons.setdefault(entrant.method.name, str(error))
            else:
                if entrant.method.name not in reasons:
                    running.append(runs)
        return running, reasons

    def _record_broken(self, comparison: Comparison) -> None:
        """A method whose declaration raises or whose step cost could not be measured has a row that says so."""
        for entrant in comparison.task.entrants:
            if entrant.method.name in comparison.task.broken:
                status, error = comparison.task.broken[entrant.method.name]
                self.recorder.log_without_run(comparison.broken_row(entrant), status, error, comparison.facts(entrant))

    def _record_skipped(self, comparison: Comparison, refused: Mapping[str, str]) -> None:
        """A method that does not apply, or that the budget is too small for, has a row that says why."""
        task = comparison.task
        for entrant in task.entrants:
            reason = refused.get(entrant.method.name, entrant.skip)
            if reason:
                self.recorder.display.say(f"{task.conditions.card.name}: {entrant.method.name} is skipped: {reason}")
                self.recorder.log_without_run(comparison.skipped_row(entrant), "skipped", reason, comparison.facts(entrant))
