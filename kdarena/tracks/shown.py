"""What a network shows: the submodules whose outputs are its feature maps, how those are read as maps, and its last linear layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isqrt
from typing import Any, Literal

from torch import Tensor, nn

SHOWN = "_kdarena_shown"
"""Attribute of a network that says what it shows, where it does not say so by ``taps`` and ``head``."""

Taps = tuple[tuple[str, str], ...]
"""Stage name and path of the submodule that puts out its feature map, shallow to deep."""


@dataclass(frozen=True)
class MapLayout:
    """How a module's output is read as a feature map [B, C, H, W].

    Attributes:
        order: ``channels first``: it is one; ``channels last``: [B, H, W, C]; ``tokens``: [B, P + H·W, C].
        prefix: tokens P before those of the patches: a class token, registers.
        grid: H and W of the tokens.
    """

    order: Literal["channels first", "channels last", "tokens"] = "channels first"
    prefix: int = 0
    grid: tuple[int, int] = (1, 1)

    def __call__(self, output: Any) -> Tensor:
        """The map, without a copy."""
        tensor = first_tensor(output)
        if self.order == "channels first":
            return tensor
        if self.order == "channels last":
            return tensor.permute(0, 3, 1, 2)
        patches = tensor[:, self.prefix :].transpose(1, 2)
        grid, count = self.grid, patches.shape[2]
        if grid[0] * grid[1] != count:  # a network that takes images of any size
            grid = isqrt(count), isqrt(count)
        turned: Tensor = patches.unflatten(2, grid)
        return turned


CHANNELS_FIRST = MapLayout()


@dataclass(frozen=True)
class Shown:
    """What a network shows.

    Attributes:
        taps: of its stages.
        head: path of its last linear layer, whose input is the embedding [B, D]; None: it has none.
        layouts: of stages whose outputs are not [B, C, H, W], by stage.
    """

    taps: Taps = ()
    head: str | None = None
    layouts: Mapping[str, MapLayout] = field(default_factory=dict)

    def __deepcopy__(self, memo: object) -> Shown:
        return self


def shown_by(network: nn.Module) -> Shown | None:
    """What a network says of itself as a value; None where it declares ``taps`` and ``head``, or nothing."""
    said = network.__dict__.get(SHOWN)
    return said if isinstance(said, Shown) else None


def first_tensor(output: Any) -> Tensor:
    """The tensor that a module puts out, or the first of several."""
    return output if isinstance(output, Tensor) else first_tensor(output[0])


def logits_alone(module: nn.Module, inputs: Any, output: Any) -> Tensor:
    """Forward hook of a network that puts out more than its logits: a tuple that begins with them, or an object that has ``logits``."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping) and "logits" in output:
        logits: Tensor = output["logits"]
        return logits
    named = getattr(output, "logits", None)
    return named if isinstance(named, Tensor) else first_tensor(output)
