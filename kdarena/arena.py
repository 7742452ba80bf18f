"""The arena: the parent process, which plans, hands out runs, records them, and touches no training itself.

In this order, each through the same engine: teachers (trained as runs of their own), calibrations (alone on their
device), trials, finals and controls, audits.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kdarena import choose, plan
from kdarena.budget import minimum_amount, share_out
from kdarena.calibrate import Calibration
from kdarena.choose import Choice
from kdarena.contract import REFERENCE, TeacherSpec
from kdarena.defaults import Defaults
from kdarena.devices import Machine
from kdarena.errors import BudgetTooSmall, UserError
from kdarena.ledger import Ledger
from kdarena.plan import Entrant, Ground, Request
from kdarena.plugins import Found
from kdarena.pool import Pool
from kdarena.scheduler import Job, Work
from kdarena.spec import Budget, PhaseCost, Purpose, RunResult, RunSpec, digest
from kdarena.tracks.card import TaskCard
from kdarena.tune import RUNG, Candidate, Study, open_storage, search_space

STUDENT = Defaults.method.name
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
        self._uncalibrated: dict[str, Calibration] = {}

    def run(self, found: Sequence[Found], cards: Sequence[TaskCard], *, named: bool) -> Outcome:
        """Tune, train and record all methods on all tasks.

        Args:
            named: the user named the methods, so that one that can't run is an error and not a skipped row.
        """
        started = time.monotonic()
        entered = [plan.enter(found, card, self.request) for card in cards]
        # a task's share of the time that is left goes by its number of methods
        weights = [sum(entrant.skip is None for entrant in entrants) for entrants in entered]
        limit = choose.calibration_limit(self.request, sum(weights), self.ledger.engine.capacity)
        for number, (card, entrants) in enumerate(zip(cards, entered, strict=True)):
            left = (self.request.total or choose.DEFAULT_TOTAL) - (time.monotonic() - started)
            self._task(entrants, card, named, left * weights[number] / max(1, sum(weights[number:])), limit)
        return Outcome(tuple(self.ledger.failures.values()), self.ledger.trained)

    # one task, in order
    def _task(self, entrants: Sequence[Entrant], card: TaskCard, named: bool, seconds: float, limit: float) -> None:
        started = time.monotonic()
        request = self.request
        ground = Ground(card, self.machine, self.machine.precision(request.precision, card), card.digest(request.data_root), request.protocol, request.metrics)
        runnable = [entrant for entrant in entrants if entrant.skip is None]
        self.ledger.display.say(f"{card.name}: {len(runnable)} methods on {len(self.machine.devices)} x {self.machine.kind}, {ground.precision}")
        keys = self.pool.train(runnable, ground)
        timed = request.budget is None or request.budget.currency in ("s", "se")
        calibrations = self._calibrate(runnable, ground, keys, timed=timed, limit=limit)
        runnable = [entrant for entrant in runnable if entrant.method.name in calibrations]
        if STUDENT not in calibrations:
            raise UserError(f"the plain student can't be calibrated on {card.name}: {self.ledger.failures.get(STUDENT, 'see the log')}")
        student = calibrations[STUDENT]
        identity = plan.request_digest(request, ground, entrants)
        choice = self.ledger.store.choice(identity)
        if choice is None:
            seconds_costs = {name: plan.phase_costs(one, "s", student.student_s) for name, one in calibrations.items()} if timed else {}
            left = seconds - (time.monotonic() - started) - audit_seconds(calibrations, limit, self.ledger.engine.capacity)
            choice = choose.choose(
                request, card, seconds_costs, student.student_s, student.steps_per_epoch, left, self.ledger.engine.capacity, self._overhead(keys)
            )
            choice = replace(choice, notes=(*choice.notes, *self._detectable(ground, keys, choice)))
        costs = {name: plan.phase_costs(one, choice.unit, student.student_s) for name, one in calibrations.items()}
        refused = choose.check_budget(runnable, costs, choice, named)
        self.ledger.store.keep_choice(identity, choice)
        self.ledger.board_amount = choice.amount
        self._say_choice(card, choice)
        for entrant in entrants:
            if entrant.method.name in self._uncalibrated:
                self._record_broken(entrant, ground, keys, choice, self._uncalibrated.pop(entrant.method.name))
        charged: dict[str, Choice] = {}
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
            self._method(entrant, ground, keys, costs[entrant.method.name], charged[entrant.method.name], calibrations[entrant.method.name].latency_ms)
            for entrant in running
        ]
        self._expect(works, choice)
        self.ledger.schedule(works)
        if timed or choice.unit == "flop":
            self._audit(running, ground, keys, calibrations, costs, choice, timed=timed, limit=limit)

    def _calibrate(
        self, entrants: Sequence[Entrant], ground: Ground, keys: Mapping[TeacherSpec, str], *, timed: bool, limit: float, audit: int = 0
    ) -> dict[str, Calibration]:
        """Measure every method, each alone on its device; one that fails has a failure and no calibration."""
        done = {}
        specs = {entrant.method.name: plan.calibration_spec(entrant, ground, keys, timed=timed, limit=limit, audit=audit) for entrant in entrants}
        new = [spec for spec in specs.values() if self.ledger.store.calibration(spec.key) is None]
        if new:
            self.ledger.display.say(f"{ground.card.name}: {'auditing' if audit else 'calibrating'} {len(new)} methods")
        self.ledger.display.expect(len(new), None)
        for name, measured in zip(specs, self.ledger.calibrations(list(specs.values())), strict=True):
            if measured.status == "done":
                done[name] = measured
            else:
                self.ledger.failures[name] = f"{ground.card.name} {name}: {measured.status}: {measured.error}"
                self._uncalibrated[name] = measured
        return done

    # one method: trials one after the other, then all finals
    def _method(
        self, entrant: Entrant, ground: Ground, keys: Mapping[TeacherSpec, str], costs: tuple[PhaseCost, ...], choice: Choice, latency_ms: float
    ) -> Work:
        budget = Budget(choice.amount, choice.unit)
        final = plan.run_spec(entrant, ground, keys, costs, budget, purpose=self._purpose(entrant), seed=0)
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
            for share in choose.LADDER:
                shorter = Budget(choice.amount * share, choice.unit)
                if shorter.amount >= minimum_amount(costs):
                    jobs += [Job(replace(final, seed=seed, budget=shorter, purpose="control", metric_groups=()), f"ladder:{share}") for seed in seeds]
        yield jobs

    def _study(self, entrant: Entrant, ground: Ground, final: RunSpec, choice: Choice, base: Candidate) -> Study:
        if not hasattr(self, "_storage"):
            self._storage = open_storage(self.request.out / "optuna.db")
        fixed = {**entrant.params, **entrant.recipe}
        space = search_space(entrant.method, ground.card, fixed)
        name = f"{ground.card.name}/{entrant.method.name}/{digest([replace(final, metric_groups=()).to_json(), choice.tuning])}"
        return Study(self._storage, name, space, base, frozenset(ground.card.recipe.knobs()))

    def _trials(self, study: Study, entrant: Entrant, ground: Ground, final: RunSpec, choice: Choice, costs: Sequence[PhaseCost]) -> Work:
        """Trials until the tuning budget is spent; what a pruned trial left unspent is spent on others."""
        amount = max(choose.TRIAL_SHARE * choice.amount, min(minimum_amount(costs), choice.amount))
        spec = replace(final, purpose="tune", seed=plan.TRIAL_SEED, budget=Budget(amount, choice.unit), reference=None, metric_groups=())
        left = choice.tuning * (1 + 1e-9)
        number = 0
        while left >= amount:
            replayed = number < study.told
            candidate = study.replay(number) if replayed else study.ask()
            rule = study.prune_rule(RUNG, before=number)
            results = yield [Job(replace(spec, params=candidate.params, recipe=candidate.recipe, prune=rule), "trial")]
            result = results[0]
            assert isinstance(result, RunResult)
            if not replayed:
                study.tell(result, ground.card.metric)
            left -= result.committed if result.status == "pruned" else amount
            number += 1

    def _charged(self, entrant: Entrant, keys: Mapping[TeacherSpec, str], choice: Choice, costs: Sequence[PhaseCost]) -> Choice:
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
    def _record_skipped(self, entrants: Sequence[Entrant], skipped: Mapping[str, Any], ground: Ground, choice: Choice) -> None:
        for entrant in entrants:
            reason = skipped.get(entrant.method.name)
            if reason:
                self.ledger.display.say(f"{ground.card.name}: {entrant.method.name} is skipped: {reason}")
                bare = replace(entrant, teachers=())
                spec = plan.run_spec(bare, ground, {REFERENCE: ""}, (), Budget(choice.amount, choice.unit), purpose=self._purpose(entrant), seed=0)
                self.ledger.log_without_run(spec, "skipped", str(reason))

    def _record_broken(self, entrant: Entrant, ground: Ground, keys: Mapping[TeacherSpec, str], choice: Choice, measured: Calibration) -> None:
        """A method that can't be calibrated has a row that says so."""
        spec = plan.run_spec(entrant, ground, keys, (), Budget(choice.amount, choice.unit), purpose=self._purpose(entrant), seed=0)
        self.ledger.log_without_run(spec, "oom" if measured.status == "oom" else "error", str(measured.error))

    def _audit(
        self,
        entrants: Sequence[Entrant],
        ground: Ground,
        keys: Mapping[TeacherSpec, str],
        calibrations: Mapping[str, Calibration],
        costs: Mapping[str, Sequence[PhaseCost]],
        choice: Choice,
        *,
        timed: bool,
        limit: float,
    ) -> None:
        """Measure every method once more, beside the student; the ratio stands on the board."""
        again = self._calibrate(entrants, ground, keys, timed=timed, limit=limit, audit=1)
        ratios = {}
        for name, audit in again.items():
            steps = share_out(costs[name], choice.amount)
            price = [
                (one.relative, two.relative) if timed else (one.flops, two.flops) for one, two in zip(calibrations[name].phases, audit.phases, strict=True)
            ]
            ratios[name] = spent_on(steps, [two for _, two in price]) / spent_on(steps, [one for one, _ in price])
        self.ledger.store.keep_audits(ground.card.name, ratios)

    def _overhead(self, keys: Mapping[TeacherSpec, str]) -> float:
        """Seconds that a run is expected to cost beside its training: what the reference teacher's own run did."""
        teacher = self.ledger.recorded.get(keys[REFERENCE])
        measured = 0.0 if teacher is None else sum(teacher.system.get(name, 0.0) for name in ("build_s", "evaluation_s"))
        return max(choose.RUN_OVERHEAD, measured)

    # what the user is told
    def _detectable(self, ground: Ground, keys: Mapping[TeacherSpec, str], choice: Choice) -> tuple[str, ...]:
        """The smallest difference that the board will be able to detect, from the spread of the task's own teachers."""
        from kdarena.statistics import detectable_difference

        metric = f"test/{ground.card.metric}"
        values = [
            self.ledger.recorded[key].metrics[metric] for key in keys.values() if key in self.ledger.recorded and metric in self.ledger.recorded[key].metrics
        ]
        if len(values) < 2 or choice.seeds < 2:
            return ()
        spread = statistics.stdev(values) * 2**0.5
        found = detectable_difference(spread, choice.seeds)
        if found is None:
            return ()
        return (f"with {choice.seeds} seeds the board will detect differences from about {found:.2g} points on (from the spread of {len(values)} teachers)",)

    def _say_choice(self, card: TaskCard, choice: Choice) -> None:
        tuning = f"{choice.tuning:.4g} {choice.unit} of tuning a method" if choice.tuning else "no tuning"
        self.ledger.display.say(f"{card.name}: budget {choice.stated} a run ({choice.amount:.4g} {choice.unit}), {choice.seeds} seeds, {tuning}")
        for note in choice.notes:
            self.ledger.display.say(f"{card.name}: {note}")

    def _expect(self, works: Sequence[Work], choice: Choice) -> None:
        finals = choice.seeds * (2 if choice.tuning else 1)
        trials = int(choice.tuning / (choose.TRIAL_SHARE * choice.amount) + 1e-9)
        self.ledger.display.expect(len(works) * (finals + trials) + choice.seeds * len(choose.LADDER), choice.amount if choice.unit == "s" else None)


def spent_on(steps: Sequence[int], prices: Sequence[float | None]) -> float:
    """So many steps at these prices."""
    return sum(count * (price or 0.0) for count, price in zip(steps, prices, strict=True))


def audit_seconds(calibrations: Mapping[str, Calibration], limit: float, workers: int) -> float:
    """About what the audits will take: half a calibration each, a phase, and what building takes."""
    return sum(min(1.3, 0.5 * limit) * len(one.phases) + 0.2 for one in calibrations.values()) / workers + 2.0
