"""A run as the harness builds it, and steps of it by the harness's own loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import nn

from kdarena.execute.hooks import Hooks
from kdarena.execute.train import begin_phase
from kdarena.execute.updates import BoundUpdate
from kdarena.method.contract import Phase, Terms
from kdarena.method.declaration import TeacherSpec
from kdarena.method.plugin import Plugin
from kdarena.method.run import Run
from kdarena.method.step import Step
from kdarena.params import Value, make_params
from kdarena.seeds import derive
from kdarena.tracks.lock import training_view
from kdarena.tracks.task import Task
from kdarena.tracks.values import Batch, Split


class ToyRun(Run):
    """A run that :func:`make_run` built: with its hooks and phases, so that steps can be taken.

    Attributes:
        instance: of the method's class, made for this run.
        loss: its terms of a step.
    """

    hooks: Hooks
    instance: Any
    loss: Callable[[Step], Terms]
    phases: list[Phase]
    augmented: Iterator[Batch]
    bound: dict[str, BoundUpdate]


def toy_teacher(task: Task, spec: TeacherSpec | None = None) -> nn.Module:
    """An untrained teacher in eval mode, seeded by its spec, whose batch norm knows the task's data."""
    spec = spec or TeacherSpec()
    named = task.card.architecture(spec.architecture)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(1000, spec.architecture, spec.member))
        network = task.new_network(named, dropout=spec.dropout)
        with torch.no_grad():
            for batch in islice(task.batches(Split(0), "plain"), 10):
                task.answered(network.train(), batch, teacher_inputs=True)
    return network.eval().requires_grad_(False)


def make_run(
    plugin: Any,
    task: Task,
    params: Mapping[str, Value] | None = None,
    *,
    teachers: Sequence[nn.Module] | None = None,
    seed: int = 0,
    recipe: Mapping[str, float] | None = None,
    locked: bool = False,
) -> ToyRun:
    """Build a method's run as the harness does: an instance, teachers, student, schedule.

    Args:
        plugin: the method's class, or its module.
        teachers: in the place of those that the method declares, which are untrained toy teachers.
        locked: give the hooks a training view of the task, as a real run does: without validation and test.
    """
    method = plugin.method
    values = make_params(method.Params, params or {})
    if teachers is None:
        teachers = [toy_teacher(task, spec) for spec in method.teachers(task.card, values)]
    torch.manual_seed(derive(seed, "global"))
    start = toy_teacher(task) if task.card.start else None
    if locked:
        task = training_view(task, Split(seed), auxiliary=method.auxiliary)
    run = ToyRun(task, method, values, seed=seed, recipe=recipe, teachers=teachers, start=start)
    run.hooks = Hooks(Plugin(method.name, plugin, method), values)
    run.instance, run.loss = run.hooks.instance, run.hooks.loss
    run.phases = run.hooks.build(run)
    run.augmented = task.batches(run.split, "augmented")
    run.bound = {}
    return run


def new_step(run: ToyRun, *, update: str = "", phase: str | None = None, batch: Batch | None = None, progress: float = 0.0) -> Step:
    """A step on one batch, for calling ``run.loss`` directly."""
    step = Step(run, phase or run.phases[-1].name)
    step.renew(batch or next(run.augmented), progress, progress)
    step.update = update
    return step


def take_steps(run: ToyRun, count: int, phase: str | None = None) -> list[dict[str, float]]:
    """Enter a phase (the last, unless named) and take steps in it; returns the terms of each as ``update/name``."""
    chosen = run.phases[-1] if phase is None else next(known for known in run.phases if known.name == phase)
    stepper, batches = begin_phase(run.hooks, run, chosen, run.bound, run.augmented)
    for position in range(count):
        with run.hooks.guard("loss"):
            stepper.take(next(batches), position / count, position / count)
    run.bound = {bound.name: bound for bound in stepper.bound}
    history: list[dict[str, float]] = [{} for _ in range(count)]
    for (update, name), values in stepper.read_terms().items():
        for position, value in values:
            history[position][f"{update}/{name}"] = value
    return history


def take_phases(run: ToyRun, count: int) -> dict[str, list[dict[str, float]]]:
    """Take every phase in order: its fixed number of steps, or ``count``."""
    return {phase.name: take_steps(run, count if phase.steps is None else phase.steps, phase.name) for phase in run.phases}
