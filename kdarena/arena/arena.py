"""The arena: the parent process, which plans, hands out runs, records them, and touches no training itself.

In this order, each through the same engine: teachers (trained as runs of their own), cost profiles (each alone on its
device), trials, final runs and controls.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from kdarena.arena.comparison import Comparison, detectable_note
from kdarena.arena.forecast import check_declared, check_profiled, check_stated, check_total, measure, number_of_methods
from kdarena.arena.method_runs import MethodRuns, tune, work
from kdarena.arena.profiles import STUDENT, ProfiledTask, profile_task
from kdarena.arena.recorder import Recorder
from kdarena.arena.scheduler import Work
from kdarena.arena.seed_clock import SeedClock
from kdarena.arena.teachers import Teachers
from kdarena.arena.trials import Candidate
from kdarena.errors import BudgetTooSmall, UserError
from kdarena.method.plugin import Plugin
from kdarena.plan.allocation import DEFAULT_SEEDS, DEFAULT_TOTAL, FEWEST_SEEDS, Allocation, allocate, share_of_time
from kdarena.plan.comparison import request_digest
from kdarena.plan.conditions import Conditions, conditions_of
from kdarena.plan.entrants import Entrant, entrants_of
from kdarena.plan.estimate import END_S, Pace, profiled_seconds, too_short
from kdarena.plan.machine import Machine
from kdarena.plan.request import Request
from kdarena.tracks.card import TaskCard

LATE = 0.08
"""Part of a total time by which its runs may end late, before seeds are left out or the command is refused."""


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

    def __init__(self, request: Request, recorder: Recorder, machine: Machine, started: float | None = None):
        """
        Args:
            started: when the command started, by ``time.monotonic``; None: now.
        """
        self.request, self.recorder, self.machine = request, recorder, machine
        self.started = time.monotonic() if started is None else started
        self.teachers = Teachers(request, recorder)

    def run(self, plugins: Sequence[Plugin], cards: Sequence[TaskCard], *, named: bool) -> Outcome:
        """Tune, train and record all methods on all tasks.

        Args:
            named: the user named the methods, so that a budget too small for one is an error and not a skipped row.

        Raises:
            UserError: the total time is too short, or a stated budget takes more than a day and the user did not say yes to that.
        """
        self.teachers.adopt(cards)
        entered = [entrants_of(plugins, card, self.request) for card in cards]
        conditions = [conditions_of(self.request, card, self.machine) for card in cards]
        paces = self._foresee(entered, conditions)
        profiled = (profile_task(self.teachers, entrants, given) for entrants, given in zip(entered, conditions, strict=True))
        timed = zip(self._with_time(profiled), paces, strict=True)
        allocations = tuple(self._compare(task, seconds, named, pace) for (task, seconds), pace in timed)
        return Outcome(tuple(self.recorder.failures.values()), self.recorder.trained, allocations)

    def _foresee(self, entered: Sequence[Sequence[Entrant]], conditions: Sequence[Conditions]) -> list[Pace | None]:
        """Say what the command will take before anything is trained; returns the pace of each task where it was measured.

        The default time is not checked: nobody asked for it, and on a slow machine the command takes longer.
        """
        request, recorder = self.request, self.recorder
        keys = (request_digest(request, given, entrants) for entrants, given in zip(entered, conditions, strict=True))
        if request.budget is None and (request.total is None or all(recorder.store.allocation(key) for key in keys)):
            return [None for _ in conditions]
        if request.budget is None:
            check_declared(request, entered, conditions, recorder.capacity)
        works = measure(self.teachers, entered, conditions)
        if request.budget is None:
            recorder.display.say(check_total(request, works, number_of_methods(entered), recorder.capacity, time.monotonic() - self.started))
        else:
            recorder.display.say(check_stated(request, works, recorder.capacity))
        return [work.pace for work in works]

    def _with_time(self, profiled: Iterable[ProfiledTask]) -> Iterator[tuple[ProfiledTask, float]]:
        """Each task with the seconds that its runs may take; where a budget is stated, they are not read."""
        request, workers = self.request, self.recorder.capacity
        if request.budget is not None:
            for task in profiled:
                yield task, 0.0
            return
        begun = time.monotonic()
        # what each task needs has to be known before time is shared out among them
        tasks = list(profiled)
        if request.total is None:
            end = begun + DEFAULT_TOTAL + sum(task.set_up_s for task in tasks)
        else:
            end = self.started + request.total - END_S
            self._check_time(tasks, end)
        needs = [task.least_seconds(request.seeds or DEFAULT_SEEDS, workers) for task in tasks]
        for number, task in enumerate(tasks):
            methods = [len(other.profiles) for other in tasks[number:]]
            yield task, share_of_time(end - time.monotonic(), needs[number:], methods)

    def _check_time(self, tasks: Sequence[ProfiledTask], end: float) -> None:
        """Raise ``UserError`` where what is left of the total time can't hold one seed of all methods, each with its least budget.

        Where it holds one and not the planned seeds, further seeds are left out as the time runs out.
        """
        total, workers = self.request.total, self.recorder.capacity
        assert total is not None
        left = end - time.monotonic()
        too_late = sum(task.least_seconds(1, workers) for task in tasks) > left + LATE * total
        if too_late and not all(self.recorder.store.allocation(self._key(task)) for task in tasks):
            needed = total - left + sum(task.least_seconds(self.request.seeds or FEWEST_SEEDS, workers) for task in tasks)
            raise UserError(too_short(total, needed, number_of_methods([task.entrants for task in tasks]), len(tasks)))

    def _compare(self, task: ProfiledTask, seconds: float, named: bool, pace: Pace | None) -> Allocation:
        """Allocate, and do all runs of a task.

        Args:
            seconds: that it may take, where the user stated no budget.
            pace: of its steps, where it was measured.
        """
        end = time.monotonic() + (1 + LATE) * seconds
        comparison, refused = self._plan(task, seconds, named)
        for line in comparison.announcement(refused):
            self.recorder.display.say(line)
        running, refused = self._admit(comparison, refused, named)
        allocation = comparison.allocation
        if pace is not None and self.request.budget is not None and allocation.unit != "s":
            self._say_time(task, running, comparison, pace)
        self._record_broken(comparison)
        self._record_skipped(comparison, refused)
        self.recorder.display.expect(comparison.expected_jobs(len(running)))
        if self.request.budget is None and self.request.total is not None:
            self._run_until(end, running, task.conditions.card.name)
        else:
            self.recorder.schedule([work(runs) for runs in running])
        return allocation

    def _say_time(self, task: ProfiledTask, running: Sequence[MethodRuns], comparison: Comparison, pace: Pace) -> None:
        """Say what a task's runs take, now that the operations of each method are counted."""
        allocation, workers = comparison.allocation, self.recorder.capacity
        costs = {runs.entrant.method.name: runs.costs for runs in running}
        seconds = profiled_seconds(costs, allocation, pace, workers)
        self.recorder.display.say(check_profiled(self.request, seconds, workers, task.conditions.card.name))

    def _run_until(self, end: float, running: Sequence[MethodRuns], name: str) -> None:
        """All trials, then the final runs seed by seed, as many seeds as can be done in time."""
        tuned: dict[str, Candidate | None] = {}

        def trials(runs: MethodRuns) -> Work:
            tuned[runs.entrant.method.name] = yield from tune(runs)

        def finals(runs: MethodRuns) -> Work:
            yield runs.final_jobs(tuned[runs.entrant.method.name])

        self.recorder.schedule([trials(runs) for runs in running])
        clock = SeedClock(end)
        self.recorder.schedule([finals(runs) for runs in running], clock)
        if clock.left_out:
            self.recorder.display.say(f"{name}: {clock.report()}")

    def _key(self, task: ProfiledTask) -> str:
        """Names the command on a task."""
        return request_digest(self.request, task.conditions, task.entrants)

    def _plan(self, task: ProfiledTask, seconds: float, named: bool) -> tuple[Comparison, dict[str, str]]:
        """The comparison, as it was planned before by the same command or anew; and the methods that its budget is too small for."""
        key = self._key(task)
        allocation = self.recorder.store.allocation(key) or self._allocate(task, seconds)
        comparison = Comparison(task, allocation, task.costs(allocation.unit), self.request.swept)
        refused = comparison.too_small(named)
        self.recorder.store.keep_allocation(key, allocation)
        return comparison, refused

    def _allocate(self, task: ProfiledTask, seconds: float) -> Allocation:
        """Seeds, budget and trials for a task."""
        student, workers = task.profiles[STUDENT], self.recorder.capacity
        costs = task.costs("s") if task.timed else {}
        card = task.conditions.card
        allocation = allocate(self.request, card, costs, task.student_s, student.steps_per_epoch, seconds, workers, task.overhead)
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
