"""How long a command takes, as far as that is known: from declared costs before anything is measured, then from the first steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kdarena.plan.allocation import NO_LADDER, RUN_OVERHEAD, TRIAL_OVERHEAD, Allocation, Costs, final_runs
from kdarena.plan.amounts import Amount
from kdarena.plan.budget import MINIMUM_STEPS, share_out
from kdarena.plan.entrants import Entrant, teachers_of
from kdarena.plan.ladder import Ladder
from kdarena.plan.levels import DEFAULT_SEEDS, Level, levels
from kdarena.plan.profile_rule import RULES, ProfileRule
from kdarena.plan.request import Request
from kdarena.plan.specs import TEACHER_SHARE
from kdarena.plan.tuning import TRIAL_SHARE, TUNING_SHARE, scheme_of
from kdarena.tracks.card import TaskCard

STUDENT_STEP_S, TEACHER_STEP_S = 0.004, 0.01
"""Seconds of a step of the plain student and of a teacher, where nothing is measured: of the embedded tasks' networks on one core."""
STEP_COST, MOST_EXPENSIVE = 3.0, 8.0
"""Cost of a step in steps of the plain student, where it is not measured: the methods' mean, and the most expensive one's."""
PHASES = 1.4
"""Phases of a method in the mean, where its schedule was not asked yet."""
BUILD_S = 0.3
"""Seconds that building a method or a teacher takes."""
PROFILES_LONGER = 1.5
"""Profiles take so many times as long as their fewest groups of blocks: some need more groups, and each first finds the length of its blocks."""
START_S, END_S = 3.0, 3.0
"""Seconds that the workers take to start, and that writing the boards and closing the record take."""


@dataclass(frozen=True)
class Pace:
    """What steps take on a task.

    Attributes:
        steps_per_epoch: of the training.
        student_s: seconds of a step of the plain student.
        teacher_s: seconds of a training step by architecture.
        flops: of the plain student's step and of each teacher's, with its seconds; empty where nothing is measured.
    """

    steps_per_epoch: int
    student_s: float
    teacher_s: Mapping[str, float] = field(default_factory=dict)
    flops: Sequence[tuple[float, float]] = ()

    def step_seconds(self, flops: float) -> float:
        """Seconds of a step of so many operations: on the line through the student's and the largest teacher's step, since small steps cost more an operation."""
        (least, least_s), (most, most_s) = min(self.flops), max(self.flops)
        if most_s <= least_s or most <= least or flops < least:
            return least_s * flops / least
        return least_s + (flops - least) * (most_s - least_s) / (most - least)

    def seconds(self, amount: Amount, step_cost: float = STEP_COST) -> float:
        """Seconds of a run of a stated budget.

        Args:
            step_cost: of the method in steps of the plain student, by which epochs take longer.
        """
        if amount.currency == "s":
            return amount.value
        if amount.currency == "flop":
            # the method with the smallest steps takes longest
            return amount.value / min(self.flops)[0] * min(self.flops)[1] if self.flops else float("nan")
        return amount.value * self.steps_per_epoch * self.student_s * (step_cost if amount.currency == "epochs" else 1.0)


@dataclass(frozen=True)
class Work:
    """What a command does on a task, as far as it is known before its methods are profiled.

    Attributes:
        methods: that run.
        teachers: that have to be trained: architecture and steps of each.
        pace: of the task.
        rule: of its cost profiles.
        stored: methods whose steps are measured again, where they look up outputs of their teachers.
    """

    methods: int
    teachers: Sequence[tuple[str, float]]
    pace: Pace
    rule: ProfileRule = RULES["cpu"]
    stored: int = 0

    def teacher_seconds(self, workers: int) -> float:
        """Seconds that the training of the teachers takes."""
        each = [steps * self.pace.teacher_s.get(name, TEACHER_STEP_S) + BUILD_S + RUN_OVERHEAD for name, steps in self.teachers]
        rounds = math.ceil(len(each) / workers)
        return rounds * sum(each) / max(1, len(each))

    def measuring_seconds(self, workers: int, *, timed: bool) -> float:
        """Seconds that the cost profiles take.

        Args:
            timed: whether time is measured, and not operations alone.
        """
        phase = self.rule.seconds(self.pace.student_s, STEP_COST * self.pace.student_s, PROFILES_LONGER) if timed else 0.0
        builds = self.rule.fewest_parts if timed else 1
        return (self.methods + self.stored) * (PHASES * phase + builds * BUILD_S) / workers

    def least_run_seconds(self, request: Request, workers: int) -> float:
        """Seconds of the runs on the least level, where each gets what the most expensive method needs."""
        amount, level = MINIMUM_STEPS * MOST_EXPENSIVE * self.pace.student_s, levels(request)[-1]
        return self._seconds(amount, level, TUNING_SHARE * amount if level.tuned else 0.0, workers, ladder=request.ladder)

    def run_seconds(self, request: Request, workers: int) -> float:
        """Seconds of the runs of a stated budget, at most."""
        assert request.budget is not None
        amount = self.pace.seconds(request.budget)
        tuning = TUNING_SHARE * amount if request.tuning_budget is None else self.pace.seconds(request.tuning_budget)
        level = Level(request.seeds or DEFAULT_SEEDS, request.tunes)
        return self._seconds(amount, level, tuning if request.tunes else 0.0, workers, both=request.both, ladder=request.ladder)

    def _seconds(self, amount: float, level: Level, tuning: float, workers: int, *, both: bool = False, ladder: Ladder) -> float:
        budgets, jobs = final_runs(self.methods, level, both=both, ladder=ladder)
        trials = self.methods * tuning / (TRIAL_SHARE * amount) if tuning else 0.0
        return (budgets * amount + self.methods * tuning + (jobs + TRIAL_OVERHEAD * trials) * RUN_OVERHEAD) / workers


def declared_work(request: Request, entrants: Sequence[Entrant], card: TaskCard) -> Work:
    """What a command does on a task where nothing is measured."""
    pace = Pace(max(1, card.train // card.recipe.batch_size), STUDENT_STEP_S)
    runnable = [entrant for entrant in entrants if entrant.runs]
    trained = teachers_of(runnable)[1 if request.gives_teacher(card) else 0 :]
    steps = _declared_teacher_steps(request, card, pace.steps_per_epoch)
    return Work(len(runnable), [(teacher.architecture, steps) for teacher in trained], pace, stored=measured_again(request, runnable, card))


def measured_again(request: Request, runnable: Sequence[Entrant], card: TaskCard) -> int:
    """Methods whose steps may look up outputs of teachers, so that they are measured with them too."""
    numbered = request.views is not None or card.augmentations is not None
    return sum(1 for entrant in runnable if entrant.teachers) if numbered and request.teacher_outputs == "auto" else 0


def _declared_teacher_steps(request: Request, card: TaskCard, steps_per_epoch: int) -> float:
    """Steps of a teacher's training: by the recipe, or what a stated budget buys; 0 where they take what is left for them."""
    recipe = card.recipe.teacher_epochs * steps_per_epoch
    if request.teacher_budget is None and (card.embedded or request.protocol == "published"):
        return recipe
    stated, share = (request.budget, TEACHER_SHARE) if request.teacher_budget is None else (request.teacher_budget, 1.0)
    if stated is None or stated.currency == "flop":
        return 0.0
    steps = share * stated.value * (1 / TEACHER_STEP_S if stated.currency == "s" else steps_per_epoch)
    return steps if request.teacher_budget is not None else min(recipe, steps)


def set_up_seconds(works: Sequence[Work], workers: int) -> float:
    """Seconds that all teachers together take."""
    return sum(work.teacher_seconds(workers) for work in works)


def needed_total(request: Request, works: Sequence[Work], workers: int, elapsed: float = START_S) -> float:
    """The shortest total time, in seconds, in which a command can be done.

    Args:
        elapsed: seconds that have passed.
    """
    runs = sum(work.least_run_seconds(request, workers) for work in works)
    measuring = sum(work.measuring_seconds(workers, timed=True) for work in works)
    return elapsed + END_S + set_up_seconds(works, workers) + measuring + runs


def stated_seconds(request: Request, works: Sequence[Work], workers: int) -> float:
    """Seconds that a command with a stated budget takes, about."""
    assert request.budget is not None
    timed = request.budget.currency in ("s", "se")
    measuring = sum(work.measuring_seconds(workers, timed=timed) for work in works)
    return START_S + END_S + set_up_seconds(works, workers) + measuring + sum(work.run_seconds(request, workers) for work in works)


def profiled_seconds(costs: Costs, allocation: Allocation, pace: Pace, workers: int, *, both: bool = False, ladder: Ladder = NO_LADDER) -> float:
    """Seconds of a task's runs once its methods are profiled, at most.

    Args:
        costs: by method, in the unit of the allocation, with the operations of each phase's step.
        both: whether the defaults and the tuned setting both get final runs.
        ladder: what is trained after the final runs; of which methods is not known.
    """
    amount, tuning, total = allocation.amount, allocation.tuning, 0.0
    budgets, jobs = ladder.of_a_seed(len(costs))
    for cost in costs.values():
        steps = share_out(cost, amount)
        seconds = sum(count * pace.step_seconds(phase.flops) for count, phase in zip(steps, cost, strict=True))
        tuned = scheme_of(cost, amount, tuning)
        runs = allocation.seeds * (2 if both and tuned else 1)
        trials = tuned.trials if tuned else 0
        total += (
            runs * ((1 + budgets / len(costs)) * seconds + (1 + jobs / len(costs)) * RUN_OVERHEAD)
            + (tuning / amount if tuned else 0.0) * seconds
            + trials * TRIAL_OVERHEAD * RUN_OVERHEAD
        )
    return total / workers


def too_short(total: float, needed: float, methods: int, tasks: int) -> str:
    """What a user hears who asked for less than the least."""
    on = f"{tasks} tasks" if tasks > 1 else "1 task"
    return (
        f"--total {Amount(total, 's')} is too short for {methods} methods on {on}: about {typed_total(needed)} are needed; "
        f"raise --total, or name fewer --plugins{' or --tasks' if tasks > 1 else ''}"
    )


def left_out(task: str, methods: int, seeds: int, needed: float) -> str:
    """What is said of a task for which there is no time.

    Args:
        needed: seconds that it takes by itself.
    """
    return (
        f"{task} is left out: the time is too short for {seeds} seeds of its {methods} methods, each with its least budget; "
        f"run it by itself: the same command with --tasks {task} --total {typed_total(needed)}"
    )


def typed_total(seconds: float) -> str:
    """A total time with a margin for a busy machine, rounded up, as it can be typed."""
    wanted = 1.1 * seconds
    step = 10 if wanted < 120 else 30 if wanted < 600 else 60 if wanted < 7200 else 600
    rounded = step * math.ceil(wanted / step)
    return f"{rounded}s" if rounded % 30 else str(Amount(float(rounded), "s"))


def spoken(seconds: float) -> str:
    """A time as it is said: ``3 h 20 min``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 48 * 3600:
        hours, minutes = divmod(round(seconds / 60), 60)
        return f"{hours} h {minutes} min" if hours else f"{minutes} min"
    days = seconds / 86400
    return f"{days:.0f} days" if days < 730 else f"{days / 365.25:.3g} years"


def on_workers(workers: int) -> str:
    """``on 2 workers``."""
    return f"on {workers} worker{'s' if workers > 1 else ''}"
