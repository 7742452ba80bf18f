"""The arena: the parent process, which plans, hands out runs, records them, and touches no training itself.

In this order, each through the same engine: teachers (trained as runs of their own), profiles (alone on their
device), trials, finals and controls, audits.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kdarena.arena.profiles import STUDENT, Measured, audit, measure
from kdarena.arena.recorder import Ledger
from kdarena.arena.scheduler import Job, Work
from kdarena.arena.teachers import Pool
from kdarena.arena.trials import Candidate, Study, open_storage, search_space
from kdarena.errors import BudgetTooSmall
from kdarena.method.declaration import REFERENCE, TeacherSpec
from kdarena.method.discovery import Plugin
from kdarena.plan.allocation import (
    DEFAULT_SEEDS,
    DEFAULT_TOTAL,
    LADDER,
    TRIAL_SHARE,
    Allocation,
    allocate,
    check_budget,
    enough_for_all,
    profile_limit,
    share_of_time,
)
from kdarena.plan.budget import minimum_amount
from kdarena.plan.entrants import Entrant, entrants_of
from kdarena.plan.machine import Machine
from kdarena.plan.request import Request
from kdarena.plan.spec import RUNG, Budget, PhaseCost, Purpose, RunResult, RunSpec, Status, digest
from kdarena.plan.specs import TRIAL_SEED, Ground, request_digest, run_spec
from kdarena.tracks.card import TaskCard

SWEPT = "sweep"
"""Setting of the runs of a sweep."""


@dataclass(frozen=True)
class Outcome:
    """What a command did: runs that failed, each named, and how many were trained."""

    failures: tuple[str, ...]
    trained: int


class Arena:
    """One command on its tasks."""

    def __init__(self, request: Request, ledger: Ledger, machine: Machine):
        self.request, self.ledger, self.machine = request, ledger, machine
        self.pool = Pool(request, ledger)

    def run(self, found: Sequence[Plugin], cards: Sequence[TaskCard], *, named: bool) -> Outcome:
        """Tune, train and record all methods on all tasks.

        Args:
            named: the user named the methods, so that a budget too small for one is an error and not a skipped row.
        """
        end = time.monotonic() + (self.request.total or DEFAULT_TOTAL)
        entered = [entrants_of(found, card, self.request) for card in cards]
        methods = sum(entrant.runs for entrants in entered for entrant in entrants)
        limit = profile_limit(self.request, methods, self.ledger.engine.capacity)
        ready: Iterable[Measured] = (measure(self.pool, entrants, card, self.machine, limit) for entrants, card in zip(entered, cards, strict=True))
        if self.request.budget is not None:
            for one in ready:
                self._compare(one, named, 0.0)
            return Outcome(tuple(self.ledger.failures.values()), self.ledger.trained)
        # where time is to be shared out among the tasks, it has to be known first what each needs
        waiting = list(ready)
        end += sum(one.set_up_s for one in waiting)
        needs = [one.least_seconds(self.request.seeds or DEFAULT_SEEDS, self.ledger.engine.capacity) for one in waiting]
        for number, one in enumerate(waiting):
            sizes = [len(other.profiles) for other in waiting[number:]]
            self._compare(one, named, share_of_time(end - time.monotonic(), needs[number:], sizes))
        return Outcome(tuple(self.ledger.failures.values()), self.ledger.trained)

    def _compare(self, measured: Measured, named: bool, seconds: float) -> None:
        """Choose the budget of a task's runs and do them.

        Args:
            seconds: that it may take, where the user stated no budget.
        """
        started = time.monotonic()
        request, ground, keys, workers = self.request, measured.ground, measured.keys, self.ledger.engine.capacity
        card, entrants, runnable, profiles = ground.card, measured.entrants, list(measured.runnable), measured.profiles
        student = profiles[STUDENT]
        identity = request_digest(request, ground, entrants, measured.limit)
        choice = self.ledger.store.allocation(identity)
        if choice is None:
            seconds_costs = measured.costs("s") if measured.timed else {}
            left = seconds - (time.monotonic() - started) - measured.audit_seconds(workers)
            choice = allocate(request, card, seconds_costs, student.student_s, student.steps_per_epoch, left, workers, measured.overhead)
            choice = replace(choice, notes=(*choice.notes, *self._detectable(ground, keys, choice)))
        costs = measured.costs(choice.unit)
        refused = check_budget(runnable, costs, choice, named)
        self.ledger.store.keep_allocation(identity, choice)
        self.ledger.board_amount = choice.amount
        self._say_choice(card, enough_for_all(costs, refused, choice))
        for entrant in entrants:
            if entrant.method.name in measured.broken:
                self._record_broken(entrant, ground, keys, choice, *measured.broken[entrant.method.name])
        charged: dict[str, Allocation] = {}
        for entrant in runnable:
            name = entrant.method.name
            try:
                charged[name] = self._charged(entrant, keys, choice, costs[name])
            except BudgetTooSmall as error:
                if named:
                    raise
                refused.setdefault(name, str(error))
        skipped = {entrant.method.name: entrant.skip for entrant in entrants if entrant.skip} | refused
        self._record_skipped(entrants, skipped, ground, choice)
        running = [entrant for entrant in runnable if entrant.method.name not in refused]
        works = [
            self._method(entrant, ground, keys, costs[entrant.method.name], charged[entrant.method.name], profiles[entrant.method.name].latency_ms)
            for entrant in running
        ]
        self._expect(works, choice)
        self.ledger.schedule(works)
        if measured.timed or choice.unit == "flop":
            audit(self.ledger, running, measured, costs, choice.amount, choice.unit)

    # one method: trials one after the other, then all finals
    def _method(
        self, entrant: Entrant, ground: Ground, keys: Mapping[TeacherSpec, str], costs: tuple[PhaseCost, ...], choice: Allocation, latency_ms: float
    ) -> Work:
        budget = Budget(choice.amount, choice.unit)
        final = run_spec(entrant, ground, keys, costs, budget, purpose=self._purpose(entrant), seed=0)
        base = Candidate(dict(entrant.params), dict(entrant.recipe))
        tuned: Candidate | None = None
        if choice.tuning > 0:
            study = self._study(entrant, ground, final, choice, base)
            yield from self._trials(study, entrant, ground, final, choice, costs)
            tuned = study.best()
        self.ledger.latency[entrant.method.name, ground.card.name] = latency_ms
        seeds = range(choice.seeds)
        jobs = [Job(replace(final, seed=seed), SWEPT if final.purpose == "control" else "default") for seed in seeds]
        if tuned is not None:
            jobs += [Job(replace(final, seed=seed, params=tuned.params, recipe=tuned.recipe), "tuned") for seed in seeds]
        if entrant.method.name == STUDENT and self.request.swept is None:
            for share in LADDER:
                shorter = Budget(choice.amount * share, choice.unit)
                if shorter.amount >= minimum_amount(costs):
                    jobs += [Job(replace(final, seed=seed, budget=shorter, purpose="control", metric_groups=()), f"ladder:{share}") for seed in seeds]
        yield jobs

    def _study(self, entrant: Entrant, ground: Ground, final: RunSpec, choice: Allocation, base: Candidate) -> Study:
        if not hasattr(self, "_storage"):
            self._storage = open_storage(self.request.out / "optuna.db")
        fixed = {**entrant.params, **entrant.recipe}
        space = search_space(entrant.method, ground.card, fixed)
        name = f"{ground.card.name}/{entrant.method.name}/{digest([replace(final, metric_groups=()).to_json(), choice.tuning])}"
        return Study(self._storage, name, space, base, frozenset(ground.card.recipe.hyperparameters()))

    def _trials(self, study: Study, entrant: Entrant, ground: Ground, final: RunSpec, choice: Allocation, costs: Sequence[PhaseCost]) -> Work:
        """Trials until the tuning budget is spent; what a pruned trial left unspent is spent on others."""
        amount = max(TRIAL_SHARE * choice.amount, min(minimum_amount(costs), choice.amount))
        spec = replace(final, purpose="tune", seed=TRIAL_SEED, budget=Budget(amount, choice.unit), reference=None, metric_groups=())
        left = choice.tuning * (1 + 1e-9)
        number = 0
        while left >= amount:
            replayed = number < study.told
            candidate = study.replay(number) if replayed else study.ask()
            rule = study.prune_rule(RUNG, before=number)
            results = yield [Job(replace(spec, params=candidate.params, recipe=candidate.recipe, prune=rule), "trial")]
            result = results[0]
            assert isinstance(result, RunResult)
            if replayed:
                study.tell_again(number, result, ground.card.metric)
            else:
                study.tell(result, ground.card.metric)
            left -= result.committed if result.status == "pruned" else amount
            number += 1

    def _charged(self, entrant: Entrant, keys: Mapping[TeacherSpec, str], choice: Allocation, costs: Sequence[PhaseCost]) -> Allocation:
        """With --charge-teacher what a method's teachers cost is taken from its budget."""
        if not self.request.charge_teacher or not entrant.teachers:
            return choice
        spent = sum(self.pool.amount(keys[teacher], choice.unit) for teacher in entrant.teachers)
        left = choice.amount - spent
        if left < minimum_amount(costs):
            raise BudgetTooSmall(
                f"--charge-teacher: the teachers of {entrant.method.name} cost {spent:.4g} {choice.unit}, the budget is {choice.amount:.4g}; raise --budget, shorten --teacher-budget or leave the method out"
            )
        return replace(choice, amount=left)

    def _purpose(self, entrant: Entrant) -> Purpose:
        """Of a method's runs: a swept value is a control, which never stands on a board."""
        return "control" if entrant.method.name == self.request.swept else "final"

    # recording
    def _record_skipped(self, entrants: Sequence[Entrant], skipped: Mapping[str, Any], ground: Ground, choice: Allocation) -> None:
        for entrant in entrants:
            reason = skipped.get(entrant.method.name)
            if reason:
                self.ledger.display.say(f"{ground.card.name}: {entrant.method.name} is skipped: {reason}")
                bare = replace(entrant, teachers=())
                spec = run_spec(bare, ground, {REFERENCE: ""}, (), Budget(choice.amount, choice.unit), purpose=self._purpose(entrant), seed=0)
                self.ledger.log_without_run(spec, "skipped", str(reason))

    def _record_broken(self, entrant: Entrant, ground: Ground, keys: Mapping[TeacherSpec, str], choice: Allocation, status: Status, error: str) -> None:
        """A method whose declaration raises or that can't be profiled has a row that says so."""
        spec = run_spec(entrant, ground, keys, (), Budget(choice.amount, choice.unit), purpose=self._purpose(entrant), seed=0)
        self.ledger.log_without_run(spec, status, error)

    # what the user is told
    def _detectable(self, ground: Ground, keys: Mapping[TeacherSpec, str], choice: Allocation) -> tuple[str, ...]:
        """The smallest difference that the board will be able to detect, from the spread of the task's teachers that differ in their seed alone."""
        from kdarena.board.statistics import detectable_difference

        metric = f"test/{ground.card.metric}"
        values = [
            self.ledger.recorded[key].metrics[metric]
            for teacher, key in keys.items()
            if replace(teacher, member=0) == REFERENCE and key in self.ledger.recorded and metric in self.ledger.recorded[key].metrics
        ]
        if len(values) < 2 or choice.seeds < 2:
            return ()
        spread = statistics.stdev(values) * 2**0.5
        found = detectable_difference(spread, choice.seeds)
        if found is None:
            return ()
        return (f"with {choice.seeds} seeds the board will detect differences from about {found:.2g} points on (from the spread of {len(values)} teachers)",)

    def _say_choice(self, card: TaskCard, choice: Allocation) -> None:
        tuning = f"{choice.tuning:.4g} {choice.unit} of tuning a method" if choice.tuning else "no tuning"
        self.ledger.display.say(f"{card.name}: budget {choice.stated} a run ({choice.amount:.4g} {choice.unit}), {choice.seeds} seeds, {tuning}")
        for note in choice.notes:
            self.ledger.display.say(f"{card.name}: {note}")

    def _expect(self, works: Sequence[Work], choice: Allocation) -> None:
        finals = choice.seeds * (2 if choice.tuning else 1)
        trials = int(choice.tuning / (TRIAL_SHARE * choice.amount) + 1e-9)
        self.ledger.display.expect(len(works) * (finals + trials) + choice.seeds * len(LADDER), choice.amount if choice.unit == "s" else None)
