"""What a command will take, from the first steps of the plain student and of the teachers: before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kdarena.arena.teachers import Teachers
from kdarena.errors import UserError
from kdarena.method.declaration import TeacherSpec
from kdarena.method.plugin import STUDENT
from kdarena.plan.amounts import Amount
from kdarena.plan.conditions import Conditions
from kdarena.plan.entrants import Entrant
from kdarena.plan.estimate import Pace, Work, declared_work, measured_again, needed_total, on_workers, set_up_seconds, spoken, stated_seconds, too_short
from kdarena.plan.profile_rule import rule_of
from kdarena.plan.request import Request
from kdarena.plan.specs import profile_spec
from kdarena.tracks.card import TaskCard

A_DAY = 86400.0
"""Seconds above which a command with a stated budget starts only with ``--yes``."""
CERTAINLY = 3.0
"""A total time is refused by declared costs alone where they are so many times as long: machines differ."""


def check_declared(request: Request, entered: Sequence[Sequence[Entrant]], cards: Sequence[TaskCard], workers: int) -> None:
    """Refuse a total time that is far too short for any task, before anything is measured.

    Raises:
        UserError: with the total that all tasks need, by declared costs.
    """
    assert request.total is not None
    works = [declared_work(request, entrants, card) for entrants, card in zip(entered, cards, strict=True)]
    if min(needed_total(request, [work], workers) for work in works) > CERTAINLY * request.total:
        raise UserError(too_short(request.total, needed_total(request, works, workers), number_of_methods(entered), len(works)))


def measure(teachers: Teachers, entered: Sequence[Sequence[Entrant]], conditions: Sequence[Conditions]) -> list[Work]:
    """What is to be done on each task, and the pace of its student and its teachers by the cost profile of each.

    Raises:
        UserError: a network can't be built.
    """
    return [_measure(teachers, [entrant for entrant in entrants if entrant.runs], given) for entrants, given in zip(entered, conditions, strict=True)]


def _measure(teachers: Teachers, runnable: Sequence[Entrant], conditions: Conditions) -> Work:
    trainings = teachers.to_train(runnable, conditions)
    student = profile_spec(Entrant(STUDENT, {}, {}, ()), conditions, {}, timed=True)
    names = list(dict.fromkeys(training.trains.architecture for training in trainings if training.trains is not None))
    specs = [student, *(replace(student, trains=TeacherSpec(name)) for name in names)]
    profiles = teachers.recorder.profiles(specs)
    own = profiles[0]
    failed = next((profile for profile in profiles if profile.status != "done"), None)
    if failed is not None:
        raise UserError(f"the steps of student and teachers can't be measured on {conditions.card.name}: {failed.error}")
    flops, seconds = [], []
    for profile in profiles:
        assert profile.student_s is not None
        (phase,) = profile.phases
        flops.append(float(phase.flops))
        seconds.append(profile.unit_cost(phase, "s", profile.student_s))
    pace = Pace(own.steps_per_epoch, seconds[0], dict(zip(names, seconds[1:], strict=True)), tuple(zip(flops, seconds, strict=True)))
    steps = [(training.trains.architecture, training.budget.amount * own.steps_per_epoch) for training in trainings if training.trains is not None]
    return Work(len(runnable), steps, pace, rule_of(conditions.machine.kind), measured_again(teachers.request, runnable, conditions.card))


def held(request: Request, works: Sequence[Work], methods: int, workers: int, elapsed: float) -> list[int]:
    """The tasks that a total time holds, by their positions; those that need most are left out, before their teachers are trained.

    Args:
        methods: of all tasks.
        elapsed: seconds since the command started.

    Raises:
        UserError: it holds not even one; names the total that all of them need.
    """
    assert request.total is not None
    kept = sorted(range(len(works)), key=lambda task: needed_total(request, [works[task]], workers, elapsed))
    while kept and needed_total(request, [works[task] for task in kept], workers, elapsed) > request.total:
        kept.pop()
    if not kept:
        raise UserError(too_short(request.total, needed_total(request, works, workers, elapsed), methods, len(works)))
    return sorted(kept)


def say_held(request: Request, works: Sequence[Work], tasks: int, workers: int) -> str:
    """What is said of the teachers before they are trained.

    Args:
        works: on the tasks that a total time holds.
        tasks: all that were asked for.
    """
    assert request.total is not None
    what = "everything" if len(works) == tasks else f"{len(works)} of {tasks} tasks"
    return f"--total {Amount(request.total, 's')} holds {what}: training the teachers takes about {spoken(set_up_seconds(works, workers))} of it"


def check_stated(request: Request, works: Sequence[Work], workers: int) -> str:
    """What is said of the time that a stated budget takes, before anything is trained.

    Raises:
        UserError: it is more than a day, and the user has not said yes to that.
    """
    seconds = stated_seconds(request, works, workers)
    _ask(request, seconds, workers, "")
    what = "each value" if request.swept else "the whole command"
    return f"{what} takes at most about {spoken(seconds)} {on_workers(workers)}"


def check_profiled(request: Request, seconds: float, workers: int, task: str) -> str:
    """The same of a task's runs, once its methods are profiled."""
    _ask(request, seconds, workers, f" on {task}")
    return f"{task}: the runs take at most about {spoken(seconds)} {on_workers(workers)}"


def _ask(request: Request, seconds: float, workers: int, where: str) -> None:
    if seconds > A_DAY and not request.yes:
        raise UserError(f"--budget {request.budget}{where} takes about {spoken(seconds)} {on_workers(workers)}: give --yes to start it, or a smaller budget")


def number_of_methods(entered: Sequence[Sequence[Entrant]]) -> int:
    """Methods that run on any task."""
    return len({entrant.method.name for entrants in entered for entrant in entrants if entrant.runs})
