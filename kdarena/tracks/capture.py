"""Look into a network while it runs: feature maps and embedding by forward hooks, which the network need not know of."""

from __future__ import annotations

from contextvars import ContextVar, Token
from functools import partial
from typing import Any

from torch import Tensor, nn

from kdarena.tracks.task import FeatureMaps

_MARK = "_kdarena_tapped"
_EMBEDDING = "embedding"
_captured: ContextVar[dict[str, Tensor] | None] = ContextVar("captured", default=None)


class Capture:
    """Context in which a network's taps are recorded; outside of one its hooks do nothing.

    Hooks are put on a network at its first capture. They name only the stage, so that a copy of the network, which takes
    them along, is captured as well as the original. A network that declares no ``taps`` gives no features.
    """

    __slots__ = ("_found", "_network", "_token")

    def __init__(self, network: nn.Module):
        if _MARK not in network.__dict__:
            _tap(network)
        self._network = network
        self._found: dict[str, Tensor] = {}
        self._token: Token[dict[str, Tensor] | None]

    def __enter__(self) -> Capture:
        self._token = _captured.set(self._found)
        return self

    def __exit__(self, *_: object) -> None:
        _captured.reset(self._token)

    def features(self) -> FeatureMaps:
        """Maps of the declared stages, shallow to deep."""
        taps = getattr(self._network, "taps", ())
        return FeatureMaps({stage: self._found[stage] for stage, _ in taps if stage in self._found})

    def embedding(self) -> Tensor | None:
        """What the last linear layer saw [B, D], in fp32."""
        seen = self._found.get(_EMBEDDING) if hasattr(self._network, "head") else None
        return seen.float() if seen is not None else None


def _tap(network: nn.Module) -> None:
    for stage, path in getattr(network, "taps", ()):
        network.get_submodule(path).register_forward_hook(partial(_record_output, stage))
    head = getattr(network, "head", None)
    if isinstance(head, str):
        network.get_submodule(head).register_forward_pre_hook(_record_input)
    network.__dict__[_MARK] = True


def _record_output(stage: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
    found = _captured.get()
    if found is not None:
        found[stage] = output


def _record_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    found = _captured.get()
    if found is not None:
        found[_EMBEDDING] = inputs[0]
