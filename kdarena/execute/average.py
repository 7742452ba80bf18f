"""The average of a student's weights over the end of its run, which is what is scored and exported where the recipe says so."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from kdarena.execute.weights import State, copied


class Average:
    """An exponential average of a network's parameters and buffers, at its beginning the plain mean.

    It is counted in progress and not in steps, so that it spans the same part of a run whatever the number of its steps.

    Args:
        network: whose weights are averaged.
        span: part of the run after which weights count with 1/e.
    """

    def __init__(self, network: nn.Module, span: float):
        self.network = network
        self._span, self._count, self._last = span, 0, 0.0
        self._names = [name for name, tensor in network.state_dict().items() if tensor.is_floating_point()]
        self._means: list[Tensor] = []

    def add(self, progress: float) -> None:
        """Count the weights as they are, at a progress of the run in [0, 1]; nothing is read back from the device."""
        state = self.network.state_dict()
        tensors = [state[name].detach() for name in self._names]
        if not self._means:
            self._means = [tensor.clone() for tensor in tensors]
        weight = max(1 / (self._count + 1), -math.expm1(-max(0.0, progress - self._last) / self._span))
        torch._foreach_lerp_(self._means, tensors, weight)
        self._count, self._last = self._count + 1, progress

    def state(self) -> State:
        """A copy of the average; what is no floating-point number is as the network has it."""
        return {**copied(self.network), **{name: mean.clone() for name, mean in zip(self._names, self._means, strict=True)}}


def averaged(average: Average | None, network: nn.Module) -> State:
    """The weights by which a student is scored: its average, or where it has none a copy of its own."""
    return average.state() if average is not None and average.network is network else copied(network)
