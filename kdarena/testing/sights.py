"""What is seen while a method takes its steps: which modes its student is in, which parameters it trains, which labels it makes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from kdarena.execute.updates import Stepper
from kdarena.method.run import Run
from kdarena.tracks.values import Batch

FIELDS = ("inputs", "targets", "index", "teacher_inputs", "auxiliary")
"""Of a batch, which a method only reads."""


class Sights:
    """What was seen over all phases of a run.

    Attributes:
        in_eval: phases in which the student was called with gradients, or left, in eval mode.
        changed: fields of a batch that a step changed in place.
        trained: parameters that an update names, by id.
        reached: of those, which got a gradient that is not zero.
        student: the deployed student's parameters, of all generations.
        helpers: each helper's parameters that want a gradient, with the helper's name and the value at first.
        strangers: networks that a step called and that nothing declares.
        labels: labels that a step put in the place of the true ones.
    """

    def __init__(self) -> None:
        self.in_eval: dict[str, str] = {}
        self.changed: dict[str, None] = {}
        self.trained: dict[int, nn.Parameter] = {}
        self.reached: dict[int, nn.Parameter] = {}
        self.student: dict[int, nn.Parameter] = {}
        self.helpers: dict[int, tuple[str, nn.Parameter, Tensor]] = {}
        self.strangers: list[nn.Module] = []
        self.labels: list[Tensor] = []

    def begins(self, run: Run, stepper: Stepper) -> None:
        """A phase begins."""
        for bound in stepper.bound:
            self.trained.update((id(parameter), parameter) for parameter in bound.parameters)
        self.student.update((id(parameter), parameter) for parameter in run.learner.student.parameters())
        for name, helper in run.learner.helpers.items():
            for parameter in helper.parameters():
                if parameter.requires_grad and id(parameter) not in self.helpers:
                    self.helpers[id(parameter)] = (name, parameter, parameter.detach().clone())

    @contextmanager
    def step(self, run: Run, phase: str, batch: Batch | None) -> Iterator[None]:
        """A step is taken within it."""
        versions = _versions(batch)
        labels = _Labels(None if batch is None else batch.targets)
        student = run.learner.student

        def look(module: nn.Module, inputs: object) -> None:
            if torch.is_grad_enabled() and not _trains(module):
                self.in_eval.setdefault(phase, "is called in eval mode")

        handle = student.register_forward_pre_hook(look)
        try:
            with labels:
                yield
        finally:
            handle.remove()
        self.labels += labels.made
        if run.learner.student is student and not _trains(student):
            self.in_eval.setdefault(phase, "is left in eval mode")
        after = _versions(batch)
        self.changed.update(dict.fromkeys(name for name in versions if after[name] != versions[name]))

    def took(self, stepper: Stepper) -> None:
        """A step was taken."""
        for bound in stepper.bound:
            for parameter in bound.parameters:
                if id(parameter) not in self.reached and parameter.grad is not None and bool(parameter.grad.any()):
                    self.reached[id(parameter)] = parameter

    def ended(self, stepper: Stepper) -> None:
        """A phase has ended."""
        self.strangers += stepper.strangers


class _Labels(TorchDispatchMode):
    """Collects the labels that a cross-entropy is given where they are not those of the batch."""

    def __init__(self, true: Tensor | None):
        super().__init__()  # type: ignore[no-untyped-call]
        self._true = true
        self.made: list[Tensor] = []

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        if self._true is not None and function._schema.name in ("aten::nll_loss_forward", "aten::nll_loss2d_forward"):
            given = arguments[1].detach()
            if given.shape == self._true.shape:
                self.made.append(given[given != self._true].flatten().cpu())
        return function(*arguments, **(keywords or {}))


def _versions(batch: Batch | None) -> dict[str, int]:
    tensors = {} if batch is None else {name: getattr(batch, name) for name in FIELDS}
    return {name: tensor._version for name, tensor in tensors.items() if tensor is not None}


def _trains(network: nn.Module) -> bool:
    return all(module.training for module in network.modules())
