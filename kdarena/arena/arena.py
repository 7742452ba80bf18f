"""The arena: the parent process, which plans, hands out runs, records them, and touches no training itself.

In this order, each through the same engine: teachers (trained as runs of their own), cost profiles (each alone on its
device), trials, final runs and controls.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

from kdarena.arena.admission import admit, record_broken, record_skipped
from kdarena.arena.comparison import Comparison
from kdarena.arena.finals import climb, trials_and_finals
from kdarena.arena.forecast import check_declared, check_profiled, check_stated, held, measure, number_of_methods, say_held
from kdarena.arena.method_runs import MethodRuns, work
from kdarena.arena.precision import conditions_in_faster_precision
from kdarena.arena.profiles import STUDENT, ProfiledTask, profile_tasks
from kdarena.arena.recorder import Recorder
from kdarena.arena.reuse import recorded_runs, said_of_reuse
from kdarena.arena.teachers import Teachers
from kdarena.errors import UserError
from kdarena.method.plugin import Plugin
from kdarena.plan.allocation import DEFAULT_TOTAL, Allocation, leave_out
from kdarena.plan.comparison import family_digest, request_digest
from kdarena.plan.conditions import Conditions, compiled_where_it_pays
from kdarena.plan.entrants import Entrant, entrants_of
from kdarena.plan.estimate import END_S, START_S, Pace, left_out, needed_total, profiled_seconds, too_short
from kdarena.plan.levels import Level, fitting, levels
from kdarena.plan.machine import Machine
from kdarena.plan.planner import allocate, share_of_time
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
        allocations: what each task got that was not left out, in the order of the tasks.
    """

    failures: tuple[str, ...]
    trained: int
    allocations: tuple[Allocation, ...]


@dataclass(frozen=True)
class _Share:
    """A profiled task's part of the time.

    Attributes:
        seconds, level: what it gets, where no budget is stated.
        pace: of its steps, where a budget is stated and it was measured.
    """

    task: ProfiledTask
    seconds: float
    level: Level | None
    pace: Pace | None


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
        if self.request.budget is None and self.request.total is not None:
            check_declared(self.request, entered, cards, self.recorder.capacity)
        conditions = conditions_in_faster_precision(self.recorder, self.request, cards, self.machine)
        paces = self._foresee(entered, conditions)
        for task, pace in paces.items():
            if pace is not None and self.request.budget is not None:
                conditions[task] = compiled_where_it_pays(self.request, conditions[task], pace.seconds(self.request.budget))
        # where the time is shared out, all tasks are profiled before any is run; else each in its turn
        groups = [list(paces)] if self.request.budget is None and paces else [[task] for task in paces]
        profiled = chain.from_iterable(
            profile_tasks(self.teachers, [entered[task] for task in group], [conditions[task] for task in group]) for group in groups
        )
        allocations = tuple(self._compare(share, named) for share in self._with_time(profiled, list(paces.values())))
        return Outcome(tuple(self.recorder.failures.values()), self.recorder.trained, allocations)

    def _foresee(self, entered: Sequence[Sequence[Entrant]], conditions: Sequence[Conditions]) -> dict[int, Pace | None]:
        """Say what the command will take before anything is trained; returns the tasks that are not left out, each with its pace where it was measured.

        The default time is not checked: nobody asked for it, and on a slow machine the command takes longer.
        """
        request, recorder = self.request, self.recorder
        keys = [request_digest(request, given, entrants) for entrants, given in zip(entered, conditions, strict=True)]
        planned = [None if request.budget is not None else recorder.store.allocation(key) for key in keys]
        tasks = [task for task, allocation in enumerate(planned) if allocation is None or not allocation.left_out]
        for allocation in planned:
            if allocation is not None and allocation.left_out:
                recorder.display.say(*allocation.notes)
        if request.budget is None and (request.total is None or all(planned)):
            return dict.fromkeys(tasks)
        works = measure(self.teachers, [entered[task] for task in tasks], [conditions[task] for task in tasks])
        if request.budget is not None:
            recorder.display.say(check_stated(request, works, recorder.capacity))
            return {task: done.pace for task, done in zip(tasks, works, strict=True)}
        kept = held(request, works, number_of_methods(entered), recorder.capacity, time.monotonic() - self.started)
        for position in set(range(len(tasks))).difference(kept):
            needed = needed_total(request, [works[position]], recorder.capacity)
            self._leave_out(keys[tasks[position]], conditions[tasks[position]], works[position].methods, needed)
        recorder.display.say(say_held(request, [works[position] for position in kept], len(conditions), recorder.capacity))
        return {tasks[position]: works[position].pace for position in kept}

    def _leave_out(self, key: str, conditions: Conditions, methods: int, needed: float) -> None:
        """Say that a task is left out and how it is run, and record that, so that the same command leaves it out again."""
        allocation = leave_out(left_out(conditions.card.name, methods, levels(self.request)[-1].seeds, needed))
        self.recorder.display.say(*allocation.notes)
        self.recorder.store.keep_allocation(key, allocation)

    def _with_time(self, profiled: Iterable[ProfiledTask], paces: Sequence[Pace | None]) -> Iterator[_Share]:
        """Each task with the seconds that its runs may take; where a budget is stated, they are not read."""
        request, workers = self.request, self.recorder.capacity
        if request.budget is not None:
            for task, pace in zip(profiled, paces, strict=True):
                yield _Share(task, 0.0, None, pace)
            return
        begun = time.monotonic()
        # what each task needs has to be known before time is shared out among them
        every = list(profiled)
        end = begun + DEFAULT_TOTAL + sum(task.set_up_s for task in every) if request.total is None else self.started + request.total - END_S
        tasks, level = self._choose(every, end)
        needs = [task.least_seconds(level, workers) for task in tasks]
        for number, task in enumerate(tasks):
            methods = [len(other.profiles) for other in tasks[number:]]
            yield _Share(task, share_of_time(end - time.monotonic(), needs[number:], methods), level, None)

    def _choose(self, tasks: Sequence[ProfiledTask], end: float) -> tuple[list[ProfiledTask], Level]:
        """The profiled tasks that the time holds, and what their methods get.

        Raises:
            UserError: a stated total time holds not even one task on the least level.
        """
        request, store, workers = self.request, self.recorder.store, self.recorder.capacity
        left, wanted = end - time.monotonic(), levels(request)

        def need(task: ProfiledTask, level: Level) -> float:
            # what was planned before is done whatever it takes
            return 0.0 if store.allocation(self._key(task)) else task.least_seconds(level, workers)

        kept, level = fitting(left, [partial(need, task) for task in tasks], wanted)
        if request.total is not None and sum(need(tasks[position], wanted[-1]) for position in kept) > left + LATE * request.total:
            needed = request.total - left + sum(task.least_seconds(wanted[-1], workers) for task in tasks)
            raise UserError(too_short(request.total, needed, number_of_methods([task.entrants for task in tasks]), len(tasks)))
        for position, task in enumerate(tasks):
            if position not in kept:
                needed = START_S + END_S + task.least_seconds(wanted[-1], workers)
                self._leave_out(self._key(task), task.conditions, len(task.profiles), needed)
        return [tasks[position] for position in kept], level

    def _compare(self, share: _Share, named: bool) -> Allocation:
        """Allocate, and do all runs of a task."""
        task, new = share.task, self.recorder.store.allocation(self._key(share.task)) is None
        end = time.monotonic() + (1 + LATE) * share.seconds
        comparison, refused = self._plan(share, named)
        for line in comparison.announcement(refused):
            self.recorder.display.say(line)
        running, refused = admit(comparison, self.teachers, refused, named)
        allocation = comparison.allocation
        if new:
            self._say_reuse(comparison, running)
        if share.pace is not None and self.request.budget is not None and allocation.unit != "s":
            self._say_time(task, running, comparison, share.pace)
        record_broken(comparison, self.recorder)
        record_skipped(comparison, refused, self.recorder)
        self.recorder.display.expect(comparison.expected_jobs(running))
        self._run(comparison, running, end if self.request.budget is None and self.request.total is not None else None)
        return allocation

    def _run(self, comparison: Comparison, running: Sequence[MethodRuns], end: float | None) -> None:
        """All runs of a task, the ladder of the command last.

        Args:
            end: when they should have ended, where a total time is stated.
        """
        card, ladder = comparison.task.conditions.card, self.request.ladder
        for_ladder = comparison.ladder_seconds(ladder, len(running), self.request.both, self.recorder.capacity)
        done = trials_and_finals(self.recorder, running, card.name, None if end is None else end - for_ladder)
        climb(self.recorder, ladder, running, done, card, end)

    def _say_time(self, task: ProfiledTask, running: Sequence[MethodRuns], comparison: Comparison, pace: Pace) -> None:
        """Say what a task's runs take, now that the operations of each method are counted."""
        allocation, workers = comparison.allocation, self.recorder.capacity
        costs = {runs.entrant.method.name: runs.costs for runs in running}
        seconds = profiled_seconds(costs, allocation, pace, workers, both=self.request.both, ladder=self.request.ladder)
        self.recorder.display.say(check_profiled(self.request, seconds, workers, task.conditions.card.name))

    def _key(self, task: ProfiledTask) -> str:
        """Names the command on a task."""
        return request_digest(self.request, task.conditions, task.entrants)

    def _before(self, task: ProfiledTask) -> tuple[float, Allocation] | None:
        """What the same command got with a smaller total time, and that time; None where there was none."""
        if self.request.budget is not None:
            return None
        family = family_digest(self.request, task.conditions, task.entrants)
        return self.recorder.store.shorter(family, self.request.total or DEFAULT_TOTAL)

    def _plan(self, share: _Share, named: bool) -> tuple[Comparison, dict[str, str]]:
        """The comparison, as it was planned before by the same command or anew; and the methods that its budget is too small for."""
        task, store = share.task, self.recorder.store
        key = self._key(task)
        allocation = store.allocation(key) or self._allocate(share)
        comparison = Comparison(task, allocation, task.costs(allocation.unit), self.request.swept)
        refused = comparison.too_small(named)
        store.keep_allocation(key, allocation)
        if self.request.budget is None:
            family = family_digest(self.request, task.conditions, task.entrants)
            store.keep_total(family, self.request.total or DEFAULT_TOTAL, key)
        return comparison, refused

    def _allocate(self, share: _Share) -> Allocation:
        """Seeds, budget and trials for a task."""
        task, workers = share.task, self.recorder.capacity
        student, card = task.profiles[STUDENT], task.conditions.card
        costs = task.costs("s") if task.timed else {}
        card = task.conditions.card
        before = self._before(task)
        planned = before and before[1]
        return allocate(self.request, card, costs, task.student_s, student.steps_per_epoch, share.seconds, workers, task.overhead, share.level, planned)

    def _say_reuse(self, comparison: Comparison, running: Sequence[MethodRuns]) -> None:
        """Say what holds of the runs that the same command made with a smaller total time, and what is new."""
        before = self._before(comparison.task)
        if before is not None:
            kept = sum(recorded_runs(work(runs), self.recorder.recorded) for runs in running)
            line = said_of_reuse(*before, comparison.allocation, kept)
            self.recorder.display.say(f"{comparison.task.conditions.card.name}: {line}")
