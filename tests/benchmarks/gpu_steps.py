"""Steps of the harness for ``gpu.py``: eager, captured, compiled, and of several runs side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from kdarena_kd import kd

from benchmarks.gpu_loops import Absent
from kdarena.execute.capture import CudaCapture
from kdarena.execute.hooks import Hooks
from kdarena.execute.train import begin_phase
from kdarena.execute.turns import OwnStream
from kdarena.execute.updates import Stepper
from kdarena.method.plugin import STUDENT, Plugin
from kdarena.method.run import Run
from kdarena.params import make_params
from kdarena.tracks.classification.task import ClassificationTask
from kdarena.tracks.values import Batch

LENGTH = 100_000
"""Steps of the run that a step is taken to belong to."""
STRIDE = 50
"""Steps after which a run reads its losses."""

Step = Callable[[], object]


def harness_steps(task: ClassificationTask, *, captured: bool, compiled: bool = False, seed: int = 0) -> Step:
    """A step of knowledge distillation as the training loop takes it: batch, rates, hooks, losses, optimiser."""
    return _steps(task, Plugin(kd.method.name, kd, kd.method), _teacher(task), captured, compiled, seed)


def student_steps(task: ClassificationTask, *, captured: bool) -> Step:
    """A step of the student alone."""
    return _steps(task, STUDENT, None, captured, False, 0)


def one_after_the_other(task: ClassificationTask, count: int) -> Step:
    """A captured step of each of several runs that differ in seed, each on its stream, so that the device takes them side by side."""
    if task.device.type != "cuda":
        raise Absent("needs CUDA")
    own = [_own(task.device) for _ in range(count)]
    steps = []
    for seed, mine in enumerate(own):
        with mine():
            steps.append(harness_steps(task, captured=True, seed=seed))

    def step() -> None:
        for mine, take in zip(own, steps, strict=True):
            with mine():
                take()

    return step


def _own(device: torch.device) -> Callable[[], AbstractContextManager[Any]]:
    """What is current while a run of several has its turn: its stream, and its state of the device's generator as in a worker."""
    return OwnStream(device).current


def _steps(task: ClassificationTask, plugin: Plugin, teacher: torch.nn.Module | None, captured: bool, compiled: bool, seed: int) -> Step:
    if compiled and task.device.type != "cuda":
        raise Absent("needs CUDA")
    hooks = _hooks(task, plugin, captured)
    assert plugin.method is not None
    run = Run(task, plugin.method, hooks.params, seed=seed, teachers=[] if teacher is None else [teacher])
    if compiled:
        _compile(run)
    phase = hooks.build(run)[0]
    stepper, batches = begin_phase(hooks, run, phase, {}, run.batches("augmented"))
    return _Steps(hooks, stepper, batches, captured)


def _hooks(task: ClassificationTask, plugin: Plugin, captured: bool) -> Hooks:
    """The hooks of a run whose steps are captured or not."""
    assert plugin.method is not None
    params = make_params(plugin.method.Params, {})
    if not captured:
        return Hooks(plugin, params, task.device)
    if task.device.type != "cuda":
        raise Absent("needs CUDA")
    return Hooks(plugin, params, task.device, CudaCapture(task.device))


def _compile(run: Run) -> None:
    """Have the run's networks called compiled, as a worker does."""
    from kdarena.execute.compile_ahead import compile_ahead
    from kdarena.tracks.compiled import Compiled

    compile_ahead(run.task)
    run.task.call = Compiled(run.task.card.recipe.batch_size)


def _teacher(task: ClassificationTask) -> torch.nn.Module:
    torch.manual_seed(0)
    return task.new_network(task.card.teacher).eval().requires_grad_(False)


class _Steps:
    """Takes steps of a run and reads its losses now and then."""

    def __init__(self, hooks: Hooks, stepper: Stepper, batches: Iterator[Batch | None], captured: bool):
        self._hooks, self._stepper, self._batches, self._captured, self._count = hooks, stepper, batches, captured, 0

    def __call__(self) -> None:
        progress = self._count % LENGTH / LENGTH
        self._stepper.take(next(self._batches), progress, progress)
        self._count += 1
        if self._count % STRIDE == 0:
            self._stepper.read_terms()
        if self._captured and self._hooks.eager:
            raise Absent(f"not captured: {next(iter(self._hooks.eager.values()))}")
