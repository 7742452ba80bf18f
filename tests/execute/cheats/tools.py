"""A worker over a task that is learnt in a few steps, and methods that cheat in it."""

import dataclasses
import shutil

import torch

from kdarena import Method, Paper, hookimpl, no_teachers
from kdarena.board.leaderboard import leaderboard_frame
from kdarena.execute.execute import execute
from kdarena.execute.workspace import Workspace
from kdarena.method.contract import HOOKS
from kdarena.method.plugin import STUDENT, Plugin
from kdarena.plan.spec import Budget, PhaseCost, RunSpec
from kdarena.testing.task import toy_task

STEPS = 60
SIDE_STEPS = 150


def method(**changes):
    """The declaration of a cheat: it takes no teacher, unless it says so."""
    return Method("cheat", "t", Paper("t", "v", 2026, "u"), **{"teachers": no_teachers, **changes})


def cheat(declared=None, **hooks):
    """A class of hooks, with what else it has."""
    marked = {name: hookimpl(function) if name in HOOKS else function for name, function in hooks.items()}
    return type("Cheat", (), {"method": declared or method(), **marked})


def trained(network, task, split, steps=SIDE_STEPS):
    """A network after real training, as a cheat does it on the side."""
    optimizer, batches = torch.optim.SGD(network.parameters(), lr=0.05), task.batches(split, "augmented")
    network.train()
    for _ in range(steps):
        batch = next(batches)
        optimizer.zero_grad()
        task.loss(task.answered(network, batch), batch.targets).backward()
        optimizer.step()
    return network


def costs(*phases):
    """Profiled costs of phases by name: as many steps as the budget has, shared equally."""
    return tuple(PhaseCost(name, None, 1.0, 1.0, None, None, 10) for name in phases)


class Bench:
    """A worker with the toy task and one teacher of it.

    Attributes:
        folder: where students and teachers are, and what a cheat keeps.
    """

    def __init__(self, folder, state, teacher):
        state.take()
        self.folder, self.task, self._teacher = folder, toy_task(), teacher.stem
        shutil.copy(teacher, folder)
        self.workspace = Workspace(folder, folder, replaced=state.replaced)
        self.workspace.task = lambda name, precision, views=None: self.task

    def run(self, plugin, seed=0, phases=("train",), **changes):
        """The result of a run of a class of hooks."""
        self.workspace.plugin = lambda name, source: STUDENT if name == "student" else Plugin("cheat", plugin, plugin.method)
        return execute(self.spec(plugin, seed, phases, **changes), self.workspace)

    def spec(self, plugin, seed=0, phases=("train",), **changes):
        """A run of the toy task with as many steps."""
        teachers = tuple((teacher, self._teacher) for teacher in plugin.method.teachers(self.task.card, None))
        made = RunSpec("toy", plugin.method.name, "", "final", seed, Budget(STEPS, "flop"), costs(*phases), teachers=teachers)
        return dataclasses.replace(made, **changes)

    def row(self, plugin, synthetic, phases=("train",), seeds=1):
        """The row on a board of the runs of a class of hooks."""
        results = [(self.spec(plugin, seed, phases), self.run(plugin, seed, phases)) for seed in range(seeds)]
        assert [result.error for _, result in results] == [None] * seeds
        runs = [synthetic.recorded(spec, result) for spec, result in results]
        (row,) = leaderboard_frame(runs, {}).to_dict("records")
        return row
