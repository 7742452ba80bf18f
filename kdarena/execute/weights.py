"""Weights of networks compared by value: where a tensor comes from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

State = Mapping[str, Tensor]
"""Parameters and buffers by name."""


def copied(network: nn.Module) -> State:
    """The state of a network as it is now."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def same(tensor: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and the same values, bit for bit; two that are not a number count as equal."""
    if tensor.shape != other.shape:
        return False
    return torch.equal(tensor, other) or bool(((tensor == other) | (tensor.isnan() & other.isnan())).all())


def first_difference(state: State, other: State) -> str | None:
    """Name of the first tensor of a state that is missing in the other or has other values; None where both are the same."""
    return next((name for name, tensor in state.items() if name not in other or not same(tensor, other[name])), None)


class KnownTensors:
    """Tensors that can be recognised by their values."""

    def __init__(self) -> None:
        self._by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)

    def add(self, state: State) -> None:
        """From now on these are known; they may not change."""
        for tensor in state.values():
            self._by_shape[tensor.shape].append(tensor)

    def holds(self, tensor: Tensor) -> bool:
        """Whether one of them is equal to a tensor."""
        return any(same(tensor, known) for known in self._by_shape.get(tensor.shape, ()))
