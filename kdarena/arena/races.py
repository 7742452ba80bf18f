"""A command that recommends: plans the races on its tasks, in the time that there is, and does them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial

from kdarena.arena.admission import admit, record_broken, record_skipped
from kdarena.arena.arena import LATE, Outcome
from kdarena.arena.comparison import Comparison
from kdarena.arena.forecast import A_DAY, CERTAINLY, measure, number_of_methods
from kdarena.arena.method_runs import MethodRuns
from kdarena.arena.precision import conditions_in_faster_precision
from kdarena.arena.profiles import STUDENT, ProfiledTask, profile_tasks
from kdarena.arena.race import Pace, Race
from kdarena.arena.recorder import Recorder
from kdarena.arena.teachers import Teachers
from kdarena.board.leaderboard import leaderboard_frame
from kdarena.board.recommendation import reason_to_stop, rows_of_task
from kdarena.errors import UserError
from kdarena.method.plugin import Plugin
from kdarena.plan.allocation import DEFAULT_TOTAL, least_amount
from kdarena.plan.amounts import Amount
from kdarena.plan.comparison import request_digest
from kdarena.plan.conditions import Conditions
from kdarena.plan.entrants import Entrant, entrants_of
from kdarena.plan.estimate import END_S, declared_work, on_workers, set_up_seconds, spoken, too_short
from kdarena.plan.machine import Machine
from kdarena.plan.planner import share_of_time
from kdarena.plan.race_plan import (
    MORE_SETTINGS,
    RacePlan,
    as_stated,
    fitted,
    least_survivors,
    needed_seconds,
    race_levels,
    race_seconds,
    rungs_of,
    shortest_race_seconds,
    stated_race_seconds,
)
from kdarena.plan.request import Request
from kdarena.plan.spec import digest
from kdarena.tracks.card import TaskCard


class Races:
    """The races of one command."""

    def __init__(self, request: Request, settings: int | None, recorder: Recorder, machine: Machine, started: float | None = None):
        """
        Args:
            settings: of each method, as the user stated them; None: what fits.
            started: when the command started, by ``time.monotonic``; None: now.
        """
        self.request, self.recorder, self.machine = request, recorder, machine
        self.started = time.monotonic() if started is None else started
        self.teachers = Teachers(request, recorder)
        self.settings = settings
        self.levels = race_levels(settings, request.seeds)

    def run(self, plugins: Sequence[Plugin], cards: Sequence[TaskCard], *, named: bool) -> Outcome:
        """Race, and do the final runs, on all tasks.

        Args:
            named: the user named the methods, so that a budget too small for one is an error and not a skipped row.

        Raises:
            UserError: the total time is too short, or a stated budget takes more than a day and the user did not say yes to that.
        """
        self.teachers.adopt(cards)
        entered = [entrants_of(plugins, card, self.request) for card in cards]
        if self.request.total is not None:
            self._check_declared(entered, cards)
        conditions = conditions_in_faster_precision(self.recorder, self.request, cards, self.machine)
        keys = [self._key(given, entrants) for given, entrants in zip(conditions, entered, strict=True)]
        if not all(self.recorder.store.race_plan(key) for key in keys):
            self._foresee(entered, conditions)
        begun = time.monotonic()
        tasks = list(profile_tasks(self.teachers, entered, conditions))
        ends = partial(self._end_of_task, tasks, self._end(begun, tasks))
        allocations = []
        for number, (task, key) in enumerate(zip(tasks, keys, strict=True)):
            end = ends(number) if self.request.budget is None else None
            plan = self.recorder.store.race_plan(key) or self._plan(task, end)
            self.recorder.store.keep_race_plan(key, plan)
            self._race(task, plan, key, end, named)
            allocations.append(plan.allocation)
        return Outcome(tuple(self.recorder.failures.values()), self.recorder.trained, tuple(allocations))

    def _key(self, conditions: Conditions, entrants: Sequence[Entrant]) -> str:
        """Names the race on a task."""
        return digest(["race", request_digest(self.request, conditions, entrants), self.settings])

    # ---- time

    def _foresee(self, entered: Sequence[Sequence[Entrant]], conditions: Sequence[Conditions]) -> None:
        """Say what the command will take before anything is trained. The default time is not checked, since nobody asked for it."""
        request, workers = self.request, self.recorder.capacity
        if request.budget is None and request.total is None:
            return
        works = measure(self.teachers, entered, conditions)
        if request.budget is not None:
            seconds = stated_race_seconds(works, request.budget, self.levels[0], workers)
            if seconds > A_DAY and not request.yes:
                raise UserError(f"--budget {request.budget} takes about {spoken(seconds)} {on_workers(workers)}: give --yes to start it, or a smaller budget")
            self.recorder.display.say(f"the whole command takes at most about {spoken(seconds)} {on_workers(workers)}")
            return
        assert request.total is not None
        needed = needed_seconds(works, self.levels[-1], workers, time.monotonic() - self.started)
        if needed > request.total:
            raise UserError(too_short(request.total, needed, number_of_methods(entered), len(works)))
        teachers = spoken(set_up_seconds(works, workers))
        self.recorder.display.say(f"--total {Amount(request.total, 's')} holds everything: training the teachers takes about {teachers} of it")

    def _check_declared(self, entered: Sequence[Sequence[Entrant]], cards: Sequence[TaskCard]) -> None:
        """Refuse a total time that is far too short before anything is measured."""
        assert self.request.total is not None
        works = [declared_work(self.request, entrants, card) for entrants, card in zip(entered, cards, strict=True)]
        needed = needed_seconds(works, self.levels[-1], self.recorder.capacity)
        if needed > CERTAINLY * self.request.total:
            raise UserError(too_short(self.request.total, needed, number_of_methods(entered), len(works)))

    def _end(self, begun: float, tasks: Sequence[ProfiledTask]) -> float:
        """When all races should have ended, by ``time.monotonic``."""
        if self.request.total is None:
            return begun + DEFAULT_TOTAL + sum(task.set_up_s for task in tasks)
        return self.started + self.request.total - END_S

    def _end_of_task(self, tasks: Sequence[ProfiledTask], end: float, number: int) -> float:
        """When the race on one of the tasks should have ended."""
        now, left = time.monotonic(), tasks[number:]
        return now + share_of_time(end - now, [self._least_seconds(task) for task in left], [len(task.profiles) for task in left])

    def _least_seconds(self, task: ProfiledTask) -> float:
        costs = task.costs("s")
        return race_seconds(costs, least_amount(costs), self.levels[-1], task.overhead) / self.recorder.capacity

    def _plan(self, task: ProfiledTask, end: float | None) -> RacePlan:
        """Settings, budget and seeds of a race.

        Args:
            end: when it should have ended; None where a budget is stated.

        Raises:
            UserError: what is measured now needs far more than a stated total time.
        """
        request, steps_per_epoch = self.request, task.profiles[STUDENT].steps_per_epoch
        if request.budget is not None:
            return as_stated(request.budget, self.settings, request.seeds, task.student_s, steps_per_epoch)
        assert end is not None and task.student_s is not None
        seconds = end - time.monotonic()
        if request.total is not None:
            self._check_profiled(task, seconds, request.total)
        epochs, more = task.conditions.card.recipe.student_epochs, () if self.settings else MORE_SETTINGS
        return fitted(task.costs("s"), seconds * self.recorder.capacity, task.overhead, epochs, steps_per_epoch * task.student_s, self.levels, more)

    def _check_profiled(self, task: ProfiledTask, seconds: float, total: float) -> None:
        """Say where the shortest race ends late, since teachers and measuring took longer than foreseen; what they gave is not thrown away for that.

        Raises:
            UserError: it would take more than twice the total time.
        """
        costs = task.costs("s")
        late = shortest_race_seconds(costs, least_amount(costs), self.levels[-1], task.overhead) / self.recorder.capacity - seconds
        if late > total:
            raise UserError(too_short(total, total + late, len(task.profiles), 1))
        if late > LATE * total:
            self.recorder.display.say(f"{task.conditions.card.name}: the machine is slower than foreseen: this takes about {spoken(late)} longer than --total")

    # ---- one task

    def _race(self, task: ProfiledTask, plan: RacePlan, key: str, end: float | None, named: bool) -> None:
        """Everything on a task."""
        recorder, card = self.recorder, task.conditions.card
        comparison = Comparison(task, plan.allocation, task.costs(plan.unit))
        running, refused = admit(comparison, self.teachers, comparison.too_small(named), named)
        record_broken(comparison, recorder)
        record_skipped(comparison, refused, recorder)
        runs = {method.entrant.method.name: method for method in running}
        for line in announcement(runs, plan):
            recorder.display.say(f"{card.name}: {line}")
        pace = Pace(end, task.overhead, recorder.capacity) if end is not None else None
        Race(runs, plan, recorder, key, partial(self._look, card, plan), pace).run()

    def _look(self, card: TaskCard, plan: RacePlan) -> str | None:
        """Why further final seeds would change nothing, or None."""
        frame = leaderboard_frame(self.recorder.record.runs(), {}, asked=self.recorder.asked, cards={card.name: card})
        return reason_to_stop(rows_of_task(frame, card.name), plan.seeds)


def announcement(runs: Mapping[str, MethodRuns], plan: RacePlan) -> list[str]:
    """What the user reads before a race starts."""
    rungs = rungs_of(len(runs), plan.settings)
    amount = f"{plan.amount:.4g} {plan.unit}"
    stated = "" if f"{plan.amount:g}{plan.unit}" == plan.stated else f" ({plan.stated})"
    return [
        f"{len(runs)} methods with at most {plan.settings} settings each; budget of a final run {amount}{stated}",
        *(
            f"rung {number}: at most {rung.entering} settings, runs of {rung.part} of the budget, {len(rung.seeds)} trial seeds"
            for number, rung in enumerate(rungs, 1)
        ),
        f"then final runs of at most {least_survivors(len(runs))} methods, the controls among them, on {plan.seeds} fresh seeds, which alone decide",
        *plan.notes,
    ]
