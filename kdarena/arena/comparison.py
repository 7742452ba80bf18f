"""A task with its profiled methods and its allocation: the methods, compared under one budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kdarena.arena.method_runs import MethodRuns, purpose_of
from kdarena.arena.profiles import STUDENT, ProfiledTask
from kdarena.arena.teachers import Teachers
from kdarena.errors import BudgetTooSmall
from kdarena.method.declaration import REFERENCE, TeacherSpec
from kdarena.plan.allocation import LADDER, Allocation, check_budget, enough_for_all, final_runs
from kdarena.plan.budget import minimum_amount, share_out
from kdarena.plan.curve import curve_plan
from kdarena.plan.entrants import Entrant
from kdarena.plan.ladder import Ladder
from kdarena.plan.levels import Level
from kdarena.plan.spec import Budget, CurvePlan, PhaseCost, RunSpec
from kdarena.plan.specs import run_spec
from kdarena.plan.tuning import scheme_of, trial_amount, why_untuned


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
        amount, both, swept = self.allocation.amount, teachers.request.both, self.swept
        runs = MethodRuns(entrant, task.conditions, task.teacher_keys, self.costs[name], allocation, amount, latency_ms, swept, both, self.curve(name))
        return replace(runs, stored=task.stored_costs(allocation.unit).get(name))

    def curve(self, name: str) -> CurvePlan | None:
        """Where the learning curves of a method's final runs are measured; none of a sweep's.

        A budget of time holds as many steps of the plain student whatever the method. In operations and epochs a method's steps are taken to last as
        long as the student's.
        """
        if self.swept is not None:
            return None
        student, own = (sum(share_out(self.costs[method], self.allocation.amount)) for method in (STUDENT, name))
        conditions = self.task.conditions
        return curve_plan(conditions.card, conditions.protocol, student if self.allocation.unit == "s" else min(student, own))

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
        """What the user reads before the runs start: what will be done, what was cut, and what that can show."""
        name, allocation = self.task.conditions.card.name, enough_for_all(self.costs, refused, self.allocation)
        running = {entrant.method.name: self.costs[entrant.method.name] for entrant in self.task.runnable if entrant.method.name not in refused}
        amount = f"{allocation.amount:.4g} {allocation.unit}"
        stated = "" if f"{allocation.amount:g}{allocation.unit}" == allocation.stated else f" ({allocation.stated})"
        plan = f"{len(running)} methods; budget of a run {amount}{stated}; {allocation.seeds} seeds"
        return [f"{name}: {line}" for line in (plan, *_tuning(running, allocation), *allocation.notes, *can_show(allocation.seeds))]

    def ladder_seconds(self, ladder: Ladder, methods: int, both: bool, workers: int) -> float:
        """Seconds that a ladder takes at most, where the budget is one of time.

        Args:
            methods: that run.
            both: whether the defaults and the tuned setting both have final runs.
        """
        budgets, jobs = ladder.of_a_seed(methods)
        settings = self.allocation.seeds * (2 if both else 1)
        return settings * (budgets * self.allocation.amount + jobs * self.task.overhead) / workers

    def expected_jobs(self, running: Sequence[MethodRuns]) -> int:
        """About how many runs methods make together with the student's shorter ones."""
        trials = sum(runs.scheme.trials for runs in running if runs.scheme is not None)
        settings = sum(2 if runs.both and runs.scheme is not None else 1 for runs in running)
        ladders = 2 if running and running[0].both else 1
        return trials + self.allocation.seeds * (settings + ladders * len(LADDER))


def _tuning(costs: Mapping[str, Sequence[PhaseCost]], allocation: Allocation) -> list[str]:
    """How methods are tuned, and which of them are not though the others are."""
    amount, tuning, unit = allocation.amount, allocation.tuning, allocation.unit
    if tuning <= 0:
        return ["no tuning"]
    schemes = {name: scheme_of(cost, amount, tuning) for name, cost in costs.items()}
    spent = sum(scheme.trials * trial_amount(costs[name], amount) for name, scheme in schemes.items() if scheme is not None)
    budgets, _ = final_runs(len(costs), Level(allocation.seeds, False))
    most = max((scheme.trials for scheme in schemes.values() if scheme is not None), default=0)
    share = spent / (spent + budgets * amount)
    reasons: dict[str, list[str]] = {}
    for name, cost in costs.items():
        if reason := why_untuned(cost, amount, tuning):
            reasons.setdefault(reason, []).append(name)
    return [
        f"tuning: {tuning:.4g} {unit} a method, at most {most} trials, {share:.0%} of the training",
        *(f"{', '.join(names)}: {reason}" for reason, names in reasons.items()),
    ]


def can_show(seeds: int) -> tuple[str, ...]:
    """What so many seeds can show, in spreads; what a spread is in points, only the runs can say."""
    from kdarena.board.power import detectable_difference

    if seeds < 2:
        return ("one seed shows no difference: how far seeds differ is not seen",)
    spreads = detectable_difference(1.0, seeds, seeds - 1)
    return (
        f"{seeds} seeds show, four times in five, a difference of one method to the student that is {spreads:.1f} times as large as its spread from seed to seed; "
        "the board says how many points that is, where it is corrected for the number of methods",
    )


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
