"""One step as a method's ``loss`` sees it: a batch, and every module call on it, each made once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kdarena.method.learner import Learner
from kdarena.method.run import Run
from kdarena.tracks.capture import overheard
from kdarena.tracks.task import Task
from kdarena.tracks.values import Batch, Outputs

LOOKED_AT = 2
"""The first steps of each phase in which the mode of every teacher that is called is looked at."""
STRIDE = 50
"""Afterwards it is looked at once in so many steps, since a look costs as much as a small layer."""


class LabelsForbidden(Exception):
    """A method that declares ``labels=False`` read them."""


class Step:
    """Filled anew for every step; a method must not keep it.

    Attributes:
        run: the run it belongs to.
        phase, update: names of the phase, and of the update whose loss is asked for.
        progress: of the phase, in [0, 1): a 0-dimensional fp32 tensor on the device, the same object in every step of a phase, so that a
            weight that follows it (:mod:`kdarena.schedules`) follows it in a captured step too.
        run_progress: of the budget, in [0, 1), likewise.
    """

    __slots__ = (
        "_batch",
        "_calls",
        "_count",
        "_decoder_inputs",
        "_decodes",
        "_fixed",
        "_labels",
        "_parameters",
        "_version",
        "phase",
        "progress",
        "run",
        "run_progress",
        "update",
    )

    def __init__(self, run: Run, phase: str):
        self.run = run
        self.phase = phase
        self.update = ""
        self.progress = torch.zeros((), device=run.task.device)
        self.run_progress = torch.zeros((), device=run.task.device)
        self._labels = run.method.labels
        self._decodes = run.task.decodes
        self._decoder_inputs: Tensor | None = None
        self._batch: Batch | None = None
        self._count = 0
        # what was called in this step, by network, inputs and arguments; the inputs are kept so that no id is used twice
        self._calls: dict[tuple[Any, ...], tuple[Any, nn.Module, tuple[Any, ...]]] = {}
        self._parameters: dict[int, frozenset[int]] = {}
        self._fixed: dict[int, bool] = {}
        self._version = 0

    def renew(self, batch: Batch | None, progress: float, run_progress: float) -> None:
        """Make it the next step (the harness calls this)."""
        self.set_progress(progress, run_progress)
        self.take_up(batch)

    def set_progress(self, progress: float, run_progress: float) -> None:
        """Say how far the next step is (the harness calls this); no part of a captured step, since it comes from Python."""
        self.progress.fill_(progress)
        self.run_progress.fill_(run_progress)

    def take_up(self, batch: Batch | None) -> None:
        """Make it the next step, on this batch (the harness calls this)."""
        self._batch = self.run.task.trained_on = batch
        self._count += 1
        self.drop()
        if batch is not None:
            self._version = self.teacher_inputs._version

    def drop(self) -> None:
        """Forget what was computed (the harness calls this)."""
        self._calls.clear()
        self._decoder_inputs = None

    def forget(self, stepped: frozenset[int]) -> None:
        """Drop what was computed through a module that has a parameter among ``stepped`` (ids)."""
        for key, (_, module, _) in list(self._calls.items()):
            owned = self._parameters.get(id(module))
            if owned is None:
                owned = self._parameters[id(module)] = frozenset(id(parameter) for parameter in module.parameters())
            if not owned.isdisjoint(stepped):
                del self._calls[key]

    # what the method is given
    @property
    def task(self) -> Task:
        """Its loss and rows let one method serve several tracks."""
        return self.run.task

    @property
    def learner(self) -> Learner:
        """Student and helpers."""
        return self.run.learner

    @property
    def _present(self) -> Batch:
        if self._batch is None:
            raise ValueError("this phase has data='none': there is no batch")
        return self._batch

    @property
    def inputs(self) -> Tensor:
        """What the student sees, [B, …], augmented and normalised."""
        return self._present.inputs

    @property
    def teacher_inputs(self) -> Tensor:
        """What teachers see: the same view, unless the task has parallel data."""
        batch = self._present
        return batch.inputs if batch.teacher_inputs is None else batch.teacher_inputs

    @property
    def targets(self) -> Tensor:
        """Labels; an error where the method declares that it learns without them."""
        if not self._labels:
            raise LabelsForbidden("the method declares labels=False but reads step.targets")
        return self._present.targets

    @property
    def decoder_inputs(self) -> Tensor:
        """What decoders are fed before each position [B, L]: the targets, from the start of the sentence on."""
        if self._decoder_inputs is None:
            self._decoder_inputs = self.task.decoder_inputs(self.targets)
        return self._decoder_inputs

    @property
    def auxiliary(self) -> Tensor:
        """Unlabelled auxiliary inputs [B', …], in phases with ``data="auxiliary"``."""
        auxiliary = self._present.auxiliary
        if auxiliary is None:
            raise ValueError("there are no auxiliary inputs; declare the phase with data='auxiliary'")
        return auxiliary

    @property
    def index(self) -> Tensor:
        """Position of each sample in the task's training set, [B]."""
        return self._present.index

    @property
    def student(self) -> Outputs:
        """The student's outputs on this step's inputs, with gradients."""
        return self.forward(self.run.learner.student)

    @property
    def teacher(self) -> Outputs:
        """The first teacher's outputs, without gradients."""
        return self.forward(self.run.teacher_modules()[0])

    @property
    def teachers(self) -> tuple[Outputs, ...]:
        """All teachers' outputs, without gradients."""
        return tuple(self.forward(teacher) for teacher in self.run.teacher_modules())

    # the three ways to call a module; they are responsible for autocast, gradients, and one call per input
    def forward(self, network: nn.Module, inputs: Tensor | None = None, **arguments: Any) -> Outputs:
        """A network's outputs, computed once per network, inputs and arguments.

        Teachers run without gradients, on ``teacher_inputs`` unless inputs are given; all other networks with gradients,
        whatever the caller's mode. A decoder is fed :attr:`decoder_inputs`, unless the caller gives ``decoder_inputs`` as an argument.
        """
        plain = not arguments
        if self._decodes and "decoder_inputs" not in arguments:
            arguments["decoder_inputs"] = self.decoder_inputs
        frozen = self.run.is_frozen(network)
        seen = inputs if inputs is not None else self.teacher_inputs if frozen else self.inputs
        key = (id(network), id(seen), tuple(sorted(arguments.items()))) if arguments else (id(network), id(seen))
        called = self._calls.get(key)
        if called is not None:
            outputs: Outputs = called[0]
            return outputs
        if frozen and (self._count <= LOOKED_AT or self._count % STRIDE == 0):
            self.run.check_mode(network)

        def call() -> Outputs:
            with torch.set_grad_enabled(not frozen):
                return self.run.task.forward(network, seen, **arguments)

        answer = self.run.answers.get(id(network)) if plain and frozen else None
        outputs = call() if answer is None or not self._unchanged(network, seen) else answer(self._present, call)
        self._calls[key] = (outputs, network, (seen,))
        return outputs

    def _unchanged(self, network: nn.Module, seen: Tensor) -> bool:
        """Whether a teacher is asked what it is always asked of this view: what teachers see, as the batch has it, wholly in eval mode."""
        if self._batch is None or seen is not self.teacher_inputs or seen._version != self._version:
            return False
        key = id(network)
        if self.run.method.active_dropout or key not in self._fixed or self._count <= LOOKED_AT or self._count % STRIDE == 0:
            self._fixed[key] = not any(module.training for module in network.modules()) and not overheard(network)
        return self._fixed[key]

    def apply(self, helper: nn.Module, *inputs: Tensor) -> Tensor:
        """A helper's output in fp32 (a predictor, a transform, a critic on its own turn), computed once per inputs."""
        key = ("apply", id(helper), *map(id, inputs))
        called = self._calls.get(key)
        if called is not None:
            output: Tensor = called[0]
            return output
        with torch.set_grad_enabled(not self.run.is_frozen(helper)), self.task.autocast():
            output = helper(*inputs)
        output = output.float()
        self._calls[key] = (output, helper, inputs)
        return output

    def call_frozen(self, module: nn.Module, *inputs: Tensor) -> Tensor:
        """A module as a fixed function: gradients to the inputs only, and none of its buffers moves.

        For the student's turn through a critic. The module keeps its mode, so that batch norm uses the batch's statistics
        in train mode as it does on the critic's own turn.
        """
        fixed = {name: parameter.detach() for name, parameter in module.named_parameters()}
        fixed.update((name, buffer.detach().clone()) for name, buffer in module.named_buffers())
        with torch.enable_grad(), self.task.autocast():
            output: Tensor = torch.func.functional_call(module, fixed, inputs)
        return output.float()
