"""Compiled calls of networks. The networks stay as they are: their names, modes and hooks, what is exported, and what copies them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook
from torch.utils._pytree import tree_leaves

from kdarena.errors import described
from kdarena.tracks.capture import Capture

BACKEND = "inductor"
"""Of torch's compiler."""
VARIANTS = 64
"""Compiled versions that torch keeps: of each architecture in either mode, and of the lengths of sequences; from then on calls are not compiled."""


Call = Callable[[nn.Module, Tensor, Mapping[str, Any]], Any]
"""Calls a network with its inputs and named arguments."""


def plain_call(network: nn.Module, inputs: Tensor, arguments: Mapping[str, Any]) -> Any:
    """What a network answers."""
    return network(inputs, **arguments)


class Compiled:
    """Calls networks compiled by torch; one that can't be compiled is called as it is, and so are batches of another size than a training step's.

    What is compiled is a call, by a function that takes the network as an argument, so that networks of one architecture share it and none is kept alive.
    A network is tried at its first call, forwards and backwards, before any step depends on it; a step that is looked at is not compiled.

    Args:
        batch_size: of a training step.
        backend: of torch's compiler; None: :data:`BACKEND`.

    Attributes:
        notes: which networks could not be compiled, one line each.
    """

    def __init__(self, batch_size: int, backend: str | None = None):
        import torch._dynamo
        import torch._functorch.config

        self._batch_size = batch_size
        torch._dynamo.config.recompile_limit = max(VARIANTS, torch._dynamo.config.recompile_limit)
        torch._functorch.config.donated_buffer = False  # several updates go back through one call of a network
        self._call = torch.compile(plain_call, backend=backend or BACKEND)
        self._works: WeakKeyDictionary[nn.Module, dict[tuple[bool, bool], bool]] = WeakKeyDictionary()
        self._plainly = False
        self.notes: list[str] = []

    def begin(self, phase: str, *, plainly: bool) -> None:
        """Begin a phase of a run.

        Args:
            plainly: whether there are parameters that not every step has a gradient for; a compiled backward pass would give them zeros, by which an
                optimiser's weight decay and momentum would move them.
        """
        self._plainly = plainly
        if plainly:
            self._note(f"phase {phase!r} is not compiled: not all of its parameters get a gradient in every step")

    def _note(self, note: str) -> None:
        self.notes += [] if note in self.notes else [note]

    def __call__(self, network: nn.Module, inputs: Tensor, arguments: Mapping[str, Any]) -> Any:
        """What the network answers."""
        # a compiled call shows no operations and no modules to what counts them or looks at them
        watched = torch._C._len_torch_dispatch_stack() > 0
        if self._plainly or len(inputs) != self._batch_size or watched or not self._can_be(network, inputs, arguments) or _has_any_global_hook():
            return network(inputs, **arguments)
        return self._call(network, inputs, arguments)

    def _can_be(self, network: nn.Module, inputs: Tensor, arguments: Mapping[str, Any]) -> bool:
        """Whether the network can be compiled in its mode, with or without gradients; not for the first time where a CUDA graph is captured."""
        works, mode = self._works.setdefault(network, {}), (network.training, torch.is_grad_enabled())
        if mode not in works:
            if _capturing(inputs.device):
                return False
            works[mode] = self._tried(network, inputs, arguments)
        return works[mode]

    def _tried(self, network: nn.Module, inputs: Tensor, arguments: Mapping[str, Any]) -> bool:
        try:
            # in a capture of its own, so that the one under way, if any, meets the first step as empty as every other
            with _untouched(network, inputs.device), _without_hooks_on_all_modules(), Capture(network):
                answers = [leaf for leaf in tree_leaves(self._call(network, inputs, arguments)) if isinstance(leaf, Tensor) and leaf.requires_grad]
                if answers:
                    total = torch.stack([answer.float().sum() for answer in answers]).sum()
                    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
                    torch.autograd.grad(total, learned, allow_unused=True)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # of a backward pass also what the compiler itself raises; what the network raises, a plain call raises again
            self._note(f"{type(network).__name__} is not compiled: {described(error)[:200]}")
            return False
        return True


def _capturing(device: torch.device) -> bool:
    """Whether what the device is given now becomes a part of a CUDA graph."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


@contextmanager
def _untouched(network: nn.Module, device: torch.device) -> Iterator[None]:
    """What a call changes is put back: buffers, and torch's generators."""
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


@contextmanager
def _without_hooks_on_all_modules() -> Iterator[None]:
    """What looks at all modules is not compiled along."""
    hooks = [kept for name, kept in vars(torch.nn.modules.module).items() if name.startswith("_global_") and isinstance(kept, dict)]
    before = [dict(kept) for kept in hooks]
    for kept in hooks:
        kept.clear()
    try:
        yield
    finally:
        for kept, entries in zip(hooks, before, strict=True):
            kept.update(entries)
