"""What ``kdarena run --dry-run`` prints of the hours that a command takes on CUDA devices, here or elsewhere."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace

from kdarena.arena.display import display
from kdarena.arena.known_costs import STUDENT, Known, known_costs
from kdarena.board.screen import Column, numbers
from kdarena.cli.output import paragraph, print_table
from kdarena.errors import UserError
from kdarena.plan.budget import spend
from kdarena.plan.device_hours import SOURCES, Hours, hours
from kdarena.plan.entrants import Entrant
from kdarena.plan.estimate import STEP_COST, spoken
from kdarena.plan.levels import DEFAULT_SEEDS
from kdarena.plan.machine import Machine
from kdarena.plan.profile_rule import rule_of
from kdarena.plan.request import Request
from kdarena.plan.stated_rates import LEAST_PART, SIDE_BY_SIDE
from kdarena.record.recorded import RecordedRun
from kdarena.record.runs import Record
from kdarena.tracks.card import TaskCard

SAID = {
    "measured": "measured on such a device, in the record",
    "elsewhere": "measured on another device, in the record",
    "counted": "by counted operations, over those of the student's step",
    "assumed": f"assumed to be {STEP_COST:g}, since nothing is known",
}


def print_hours(request: Request, entered: Sequence[Sequence[Entrant]], cards: Sequence[TaskCard], machine: Machine) -> None:
    """Print a rough estimate for each task: the costs of all methods, and the hours of the parts of the command."""
    runs = _recorded(request)
    for card, entrants in zip(cards, entered, strict=True):
        runnable = [entrant for entrant in entrants if entrant.runs]
        shown = display()
        shown.say(f"{card.name}: looking up what steps cost; operations that are not in the record are counted on this machine")
        try:
            known = known_costs(request, card, runnable, runs, machine, shown)
        finally:
            shown.close()
        if known is None:
            print(paragraph(f"{card.name}: how long it takes can't be said: its data are not here, so that no operations can be counted"))
        else:
            _print_task(request, known, machine)


def _recorded(request: Request) -> Sequence[RecordedRun]:
    """The runs of the command's output directory; none where there is no such directory."""
    with warnings.catch_warnings(action="ignore"):
        try:
            return Record.open(request.out, create=False, untouched=True).runs()
        except UserError:
            return ()


def _print_task(request: Request, known: Known, machine: Machine) -> None:
    name, devices, rule = known.task.card.name, len(machine.devices), rule_of(machine.kind)
    model = known.device_name or known.rate.device
    several = f"{devices} devices" if devices > 1 else "one device"
    print(paragraph(f"{name}: a rough estimate for {several}, {model}{', which this machine does not have' if machine.elsewhere else ''}"))
    together = request.side_by_side or SIDE_BY_SIDE
    gain, taken = known.rate.gain(known.way, together), hours(request, known.task, rule)
    for line in [
        _sources(known),
        _student(known),
        _a_run(request, known),
        _side_by_side(known, gain, together),
        *(f"{method} does not run: {reason}" for method, reason in known.unfit.items()),
    ]:
        print(paragraph(f"  {line}"))
    print_table(_methods(request, known, taken))
    print_table(_parts(request, known, taken, gain, devices, together))
    print(paragraph(f"{name}: about {_said(taken.total(gain, devices))} on {several}; {_eager(request, known, devices)}"))


def _sources(known: Known) -> str:
    """Where the costs of steps come from."""
    found = [costs.source for costs in known.task.costs.values()]
    parts = [f"of {found.count(source)} methods {SAID[source]}" for source in SOURCES if source in found]
    return f"step costs in steps of the student, the most trusted first: {'; '.join(parts)}"


def _student(known: Known) -> str:
    step = f"a step of the student: {1000 * known.task.student_s:.3g} ms"
    if known.timed:
        return f"{step}, measured on such a device, in the record"
    rate, way = known.rate, known.rate.way(known.way)
    return (
        f"{step}, not measured here but stated: kd on {rate.task} took {rate.images[way, 1]:.0f} images a second, {way}, "
        f"on one {rate.device} ({rate.day}); in proportion to operations, {LEAST_PART:g} of that step at least"
    )


def _a_run(request: Request, known: Known) -> str:
    """What a run takes."""
    task, budget = known.task, request.budget
    assert budget is not None
    seconds = sorted(task.seconds(name, budget) for name in task.costs)
    if budget.currency in ("s", "se"):
        return f"a run of {budget} takes every method the same time, that of {sum(task.steps(STUDENT, budget))} steps of the student: {spoken(seconds[-1])}"
    return f"a run of {budget} takes {spoken(seconds[0])} to {spoken(seconds[-1])}, by its method"


def _side_by_side(known: Known, gain: float, together: int) -> str:
    if together == 1:
        return "runs are trained one after the other"
    rate, way = known.rate, known.rate.way(known.way)
    stated = (
        f"{rate.images[way, SIDE_BY_SIDE]:.0f} and {rate.images[way, 1]:.0f} images a second of {SIDE_BY_SIDE} and of one"
        if (way, SIDE_BY_SIDE) in rate.images
        else "no rate is known"
    )
    return f"{together} runs side by side end {gain:.2f} times as fast as one after the other, stated likewise ({stated})"


def _methods(request: Request, known: Known, taken: Hours) -> list[Column]:
    """A row for each method, the most expensive step first."""
    task, budget = known.task, request.budget
    assert budget is not None
    steps = {name: task.steps(name, budget) for name in task.costs}
    costs = {name: spend(task.costs[name].phases, counts) / max(1, sum(counts)) for name, counts in steps.items()}
    names = sorted(costs, key=lambda name: -costs[name])
    return [
        Column("method", names),
        Column("student\nsteps", numbers([costs[name] for name in names]), number=True, order=1),
        Column("\nfrom", [task.costs[name].source for name in names], order=2),
        Column("steps\na run", [str(sum(steps[name])) for name in names], number=True, order=3),
        Column("epochs\na run", numbers([sum(steps[name]) / task.steps_per_epoch for name in names], 1), number=True, order=4),
        Column("tuning,\nhours", _in_hours(taken.tuning[name] for name in names), number=True, order=5),
        Column("final runs,\nhours", _in_hours(taken.finals[name] for name in names), number=True, order=5),
    ]


def _parts(request: Request, known: Known, taken: Hours, gain: float, devices: int, together: int) -> list[Column]:
    """A row for each part of the command."""
    methods, seeds = len(known.task.costs), request.seeds or DEFAULT_SEEDS
    parts = [
        (f"{len(known.task.teachers)} teacher{'' if len(known.task.teachers) == 1 else 's'}", taken.teachers, gain),
        (f"cost profiles of {methods} methods", taken.profiles, 1.0),
        (f"tuning of {methods} methods", sum(taken.tuning.values()), gain),
        (f"final runs: {methods} methods x {seeds} seeds, controls", sum(taken.finals.values()), gain),
    ]
    hours_together = [(seconds / gained / devices) for _, seconds, gained in parts]
    return [
        Column("part", [*(part for part, _, _ in parts), "total"]),
        Column("hours, one\nafter the other", _in_hours([*(seconds for _, seconds, _ in parts), taken.total()]), number=True, order=1),
        Column(f"hours, {together}\nside by side", _in_hours([*hours_together, sum(hours_together)]), number=True),
    ]


def _eager(request: Request, known: Known, devices: int) -> str:
    """What the command would take without captured steps and side by side."""
    slower = known.rate.images[known.rate.way(known.way), 1] / known.rate.images[known.rate.way("eager"), 1]
    task = replace(known.task, student_s=slower * known.task.student_s)
    # a budget in seconds stays what it is, and buys fewer steps
    return f"with steps taken one by one by Python, and no runs side by side, about {_said(hours(request, task, rule_of('cuda')).total(1.0, devices))}"


def _said(seconds: float) -> str:
    """A time in hours, as it is compared with another."""
    value = seconds / 3600
    if value < 1:
        return spoken(seconds)
    return f"{value:.2g} hours" if value < 10 else f"{value:.0f} hours"


def _in_hours(seconds: Iterable[float]) -> list[str]:
    return [f"{value / 3600:.2f}" for value in seconds]
