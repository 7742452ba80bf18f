"""Checks that train a method more than once: again, with another seed, in turns with another run, captured, with other budgets and parameters."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any

import numpy
import torch

from kdarena.errors import Diverged, MethodError
from kdarena.execute.captured_steps import COMPARED, FREE, key_of
from kdarena.execute.execute import seed_everything
from kdarena.execute.start import Seen
from kdarena.execute.train import Training, begin_phase
from kdarena.method.plugin import STUDENT
from kdarena.method.run import Run
from kdarena.params import Params, Tunable, Value, make_params, tunables
from kdarena.plan.budget import share_out
from kdarena.plan.spec import PhaseCost
from kdarena.testing.finding import Finding
from kdarena.testing.observed import Observed, generators, same_training
from kdarena.testing.replays import Replays
from kdarena.testing.run import make_run
from kdarena.tracks.task import Task

BUDGETS = (1, 3, 8)
"""Steps that a phase of share 1 gets in each of the tiny budgets."""
TOLERANCE = 1e-6


def again(implementation: Any, task: Task, first: Observed) -> Finding:
    """One seed gives one result."""
    where = same_training(first, Observed(implementation, task).train())
    if where is None:
        return Finding("seed", "ok", "one seed gives one result, bit by bit")
    return Finding(
        "seed",
        "failed",
        f"two runs of one seed differ in {where}; draw from run.generator, and keep state in the instance (self.…), not in the module or the class",
    )


def seeded(implementation: Any, task: Task, drawn: dict[str, Any]) -> Finding:
    """No global generator is seeded.

    Args:
        drawn: where the global generators were after a training of seed 0.
    """
    Observed(implementation, task, seed=1).train()
    now = generators()
    seeds = [name for name, where in drawn.items() if now[name] == where]
    if seeds:
        return Finding(
            "global seed",
            "failed",
            f"it calls {seeds[0]}, or sets that generator's state: the same for every seed and for what runs next; draw from run.generator",
        )
    return Finding("global seed", "ok")


def in_turns(implementation: Any, task: Task, first: Observed) -> Finding:
    """A run gives what it gives alone, where another run of the method takes its steps in between."""
    runs = []
    for seed in (0, 1):
        observed = Observed(implementation, task, seed=seed)
        runs.append((observed, observed.blocks(), _Generators()))
    for _ in zip_longest(*(_turns(blocks, own) for _, blocks, own in runs)):
        pass
    where = same_training(first, runs[0][0])
    if where is None:
        return Finding("side by side", "ok", "a run gives the same with another one in between")
    return Finding(
        "side by side", "failed", f"with another run in between it differs in {where}; keep state in the instance (self.…), not in the module or the class"
    )


def captured(implementation: Any, task: Task) -> Finding:
    """Its steps are replayed as a CUDA graph would, or say why they can't be."""
    seed_everything(0)
    run = make_run(implementation, task, locked=True)
    run.hooks.capture = replays = Replays(checked=True, tolerance=TOLERANCE)
    for phase in run.phases:
        stepper, batches = begin_phase(run.hooks, run, phase, run.bound, run.augmented)
        count = FREE + COMPARED + 2 if phase.steps is None else min(phase.steps, FREE + COMPARED + 2)
        batch = next(batches)
        shape = key_of(batch)
        for position in range(count):
            try:
                with run.hooks.guard("loss" if phase.process is None else "process"):
                    stepper.take(batch, position / count, position / count)
            except MethodError as error:
                if not isinstance(error.__cause__, AssertionError):
                    raise
                return Finding(
                    "captured",
                    "failed",
                    f"a replayed step of phase {phase.name!r} leaves other values than the same step in Python: what changes from step to step has to be a tensor that is updated in place",
                )
            batch = next(other for other in batches if key_of(other) == shape)
        run.bound = {bound.name: bound for bound in stepper.bound}
    eager = [f"phase {phase!r} is not: {reason}" for phase, reason in run.hooks.eager.items()]
    return Finding("captured", "ok", "; ".join([f"replayed: {replays.replayed} of the steps" if replays.replayed else "no step was", *eager]))


def budgets(implementation: Any, task: Task) -> Finding:
    """It trains to the end of tiny budgets, from the weights that a student starts with."""
    spent = []
    for size in BUDGETS:
        seed_everything(0)
        run = make_run(implementation, task, locked=True)
        costs = [PhaseCost(phase.name, phase.steps, phase.share, 1.0, None, None, 0) for phase in run.phases]
        takers = [cost for cost in costs if cost.steps is None]
        amount = float(sum(cost.steps or 0 for cost in costs) + size * len(takers))
        plain = Run(task, STUDENT.method, Params(), seed=0, start=run._start)  # type: ignore[arg-type]
        seen = Seen(run, lambda generation, plain=plain: plain.new_student(generation=generation))  # type: ignore[misc]
        for hook in ("build_student", "schedule"):
            seen.after(hook)
        seen.scheduled(len(run.phases))
        training = Training(run.hooks, run, run.phases, costs, amount, seen=seen)
        try:
            training()
        except Diverged as error:
            return Finding("budgets", "failed", f"in a budget of {amount:g} steps it diverges: {error}")
        planned = sum(share_out(costs, amount))
        if training.steps > planned:
            return Finding("budgets", "failed", f"in a budget of {amount:g} steps it takes {training.steps}")
        spent.append(training.steps)
    return Finding("budgets", "ok", f"trains for {', '.join(map(str, spent[:-1]))} and {spent[-1]} steps")


def parameters(implementation: Any, task: Task, larger: Callable[[], Task | None]) -> Iterator[Finding]:
    """Each parameter changes something, in small batches too.

    Args:
        larger: gives the same task with larger batches, where there is one.
    """
    known = tunables(implementation.method.Params)
    idle = []
    for name, tunable in known.items():
        values = _others(implementation, task, name, tunable)
        if not values or any(_changes(implementation, task, name, value) for value in values):
            continue
        value, big = values[0], larger()
        if big is not None and _changes(implementation, big, name, value):
            sizes = [one.card.recipe.batch_size for one in (task, big)]
            yield Finding(
                "parameters",
                "failed",
                f"{name}={value} changes nothing in batches of {sizes[0]}, but in batches of {sizes[1]}: a part of a batch that is rounded down is nothing in a small one; "
                "round it up, or draw for each sample by itself",
            )
            return
        idle.append(name)
    if known and len(idle) == len(known):
        yield Finding("parameters", "warning", f"{', '.join(idle)}: none changes anything in the first steps; use it in a hook (params.{idle[0]})")
    elif known:
        without = f"; without effect in the first steps: {', '.join(idle)}" if idle else ""
        used = [name for name in known if name not in idle]
        yield Finding("parameters", "ok", f"{', '.join(used)} {'changes' if len(used) == 1 else 'change'} the training{without}")


def _changes(implementation: Any, task: Task, name: str, value: Value) -> bool:
    first, other = (Observed(implementation, task, params=params, steps=3).train() for params in ({}, {name: value}))
    return same_training(first, other) is not None


def _others(implementation: Any, task: Task, name: str, tunable: Tunable) -> list[Value]:
    """Other values than the default that the method can run with."""
    candidates: list[Any] = [not tunable.default] if tunable.kind == "flag" else list(tunable.choices) or [tunable.low, tunable.high]
    possible: list[Value] = []
    for value in candidates:
        try:
            params = make_params(implementation.method.Params, {name: value})
        except ValueError:
            continue
        if getattr(params, name) != tunable.default and implementation.method.reason_against(task.card, params) is None:
            possible.append(getattr(params, name))
    return possible


class _Generators:
    """The global generators of one of several runs that take turns."""

    def __init__(self) -> None:
        self.keep()

    def keep(self) -> None:
        self._states = torch.get_rng_state(), random.getstate(), numpy.random.get_state()

    def put(self) -> None:
        torch.set_rng_state(self._states[0])
        random.setstate(self._states[1])
        numpy.random.set_state(self._states[2])


def _turns(blocks: Iterator[None], own: _Generators) -> Iterator[None]:
    while True:
        own.put()
        if next(blocks, StopIteration) is StopIteration:
            return
        own.keep()
        yield
