"""A short training of a method in which what its code does is seen."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from kdarena.errors import MethodError
from kdarena.execute.execute import seed_everything
from kdarena.execute.train import begin_phase
from kdarena.method.contract import Phase
from kdarena.method.declaration import Method
from kdarena.params import Params, Value, make_params
from kdarena.testing.run import ToyRun, make_run
from kdarena.testing.sights import Sights
from kdarena.tracks.task import Task

MOST_FIXED = 1000
"""Steps of a phase with a fixed number that a check takes."""

History = dict[str, list[dict[str, float]]]


class Observed:
    """A run of a few steps in each phase, by the harness's own loop.

    Attributes:
        run: as its hooks have it.
        history: the terms of every step, by phase.
        start: the student's weights before the first step.
        teachers: the weights of each teacher that was given.
        before: what the method is given and may not change, as it was.
        sights: what was seen.
    """

    def __init__(self, implementation: Any, task: Task, *, params: Mapping[str, Value] | None = None, seed: int = 0, steps: int = 4):
        seed_everything(seed)
        self._steps = steps
        self.sights = Sights()
        self.history: History = {}
        recipe = {"lr": task.card.recipe.lr, "weight_decay": task.card.recipe.weight_decay}
        self.before = given(make_params(implementation.method.Params, params or {}), recipe, task, implementation.method)
        self.run: ToyRun = make_run(implementation, task, params, seed=seed, locked=True)
        self.start = state_of(self.run.learner.student)
        self.teachers = [state_of(teacher) for teacher in self.run.teachers]

    def train(self) -> Observed:
        """Take the steps of all phases."""
        for _ in self.blocks():
            pass
        return self

    def blocks(self) -> Iterator[None]:
        """Take the steps; waits after each, so that another run can have its turn."""
        for phase in self.run.phases:
            yield from self._phase(phase)

    def _phase(self, phase: Phase) -> Iterator[None]:
        run, hooks = self.run, self.run.hooks
        stepper, batches = begin_phase(hooks, run, phase, run.bound, run.augmented)
        self.sights.begins(run, stepper)
        count = self._steps if phase.steps is None else phase.steps
        if count > MOST_FIXED:
            raise MethodError(
                hooks.name, "schedule", f"phase {phase.name!r} has {count:,} fixed steps on a task of {run.train_size} samples; take a share of the budget"
            )
        for position in range(count):
            batch = next(batches)
            with hooks.guard("loss" if phase.process is None else "process"), self.sights.step(run, phase.name, batch):
                stepper.take(batch, position / count, position / count)
            self.sights.took(stepper)
            yield
        self.sights.ended(stepper)
        run.bound = {bound.name: bound for bound in stepper.bound}
        history: list[dict[str, float]] = [{} for _ in range(count)]
        for (update, name), values in stepper.read_terms().items():
            for position, value in values:
                history[position][f"{update}/{name}"] = value
        self.history[phase.name] = history

    @property
    def after(self) -> dict[str, Any]:
        """What the method is given, now."""
        run = self.run
        return given(run.params, run.recipe, run.task, run.method)

    @property
    def states(self) -> list[dict[str, Tensor]]:
        """The weights of student and helpers, now."""
        return [state_of(network) for network in self.run.learner.modules()]


def state_of(network: nn.Module) -> dict[str, Tensor]:
    """A copy of a network's weights and buffers."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def equal(state: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether two networks have the same weights, bit for bit; two that are not finite in the same places are the same."""
    return state.keys() == other.keys() and all(
        tensor.shape == other[name].shape and bool(((tensor == other[name]) | ((tensor != tensor) & (other[name] != other[name]))).all())
        for name, tensor in state.items()
    )


def same_training(first: Observed, second: Observed) -> str | None:
    """None where two trainings gave the same, bit for bit; else where they differ first."""
    for phase, steps in first.history.items():
        for position, (terms, others) in enumerate(zip(steps, second.history.get(phase, []), strict=False)):
            for name, value in terms.items():
                if repr(value) != repr(others.get(name)):
                    return f"term {name!r} in step {position} of phase {phase!r}: {value:.7g} and {others.get(name, float('nan')):.7g}"
    pairs = list(zip(first.states, second.states, strict=False))
    return None if len(first.states) == len(second.states) and all(equal(one, other) for one, other in pairs) else "the trained weights"


def given(params: Params, recipe: Mapping[str, float], task: Task, method: Method) -> dict[str, Any]:
    """What a method is given and only reads, by the name by which it would be changed."""
    return {
        "its parameters (params)": copy.copy(vars(params)),
        "run.recipe": dict(recipe),
        "task.card": repr(task.card),
        "task.setting": task.setting,
        "its own declaration (method)": repr(method),
    }


def generators() -> dict[str, Any]:
    """Where the global generators are, by what seeds them."""
    return {
        "torch.manual_seed": torch.get_rng_state().numpy().tobytes(),
        "random.seed": hash(random.getstate()),
        "numpy.random.seed": hash(str(numpy.random.get_state(legacy=False))),
    }
