"""What a network shows while it runs: feature maps and embedding by forward hooks, which the network need not know of."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from kdarena.tracks.shown import CHANNELS_FIRST, MapLayout, logits_alone, shown_by
from kdarena.tracks.values import FeatureMaps, Outputs

_MARK = "_kdarena_tapped"
_EMBEDDING = "embedding"
_LIBRARYS = "transformers.utils.output_capturing"
"""Module of the hooks by which transformers gathers what a call asks its networks for."""


class _UnderWay:
    """The capture in which a network runs, of the one thread that calls networks. No ``ContextVar``: torch's compiler would cut a network at each tap."""

    seen: dict[str, Tensor] | None = None


_under_way = _UnderWay()


class Capture:
    """Context in which a network's taps are recorded; outside of one its hooks do nothing.

    Hooks are put on a network at its first capture. They name only the stage, so that a copy of the network, which takes
    them along, is captured as well as the original. A network that declares no ``taps`` gives no features, and
    a network without a linear ``head`` (the module, or its name in the network) no embedding. What
    :class:`kdarena.tracks.shown.Shown` says of a network goes first.
    """

    __slots__ = ("_network", "_outer", "_seen")

    def __init__(self, network: nn.Module):
        if _MARK not in network.__dict__:
            _tap(network)
        self._network = network
        self._seen: dict[str, Tensor] = {}
        self._outer: dict[str, Tensor] | None = None

    def __enter__(self) -> Capture:
        self._outer, _under_way.seen = _under_way.seen, self._seen
        return self

    def __exit__(self, *_: object) -> None:
        _under_way.seen = self._outer

    def features(self) -> FeatureMaps:
        """Maps of the declared stages, shallow to deep."""
        shown = shown_by(self._network)
        taps = getattr(self._network, "taps", ()) if shown is None else shown.taps
        return FeatureMaps({stage: self._seen[stage] for stage, _ in taps if stage in self._seen})

    def embedding(self) -> Tensor | None:
        """What the last linear layer saw [B, D], in fp32."""
        shown = shown_by(self._network)
        declared = hasattr(self._network, "head") if shown is None else shown.head is not None
        seen = self._seen.get(_EMBEDDING) if declared else None
        if seen is None:
            return None
        return (seen.flatten(1) if seen.dim() == 4 else seen).float()


def _tap(network: nn.Module) -> None:
    shown = shown_by(network)
    taps, layouts = (getattr(network, "taps", ()), {}) if shown is None else (shown.taps, shown.layouts)
    for stage, path in taps:
        layout = layouts.get(stage, CHANNELS_FIRST)
        network.get_submodule(path).register_forward_hook(partial(_record_output, stage, layout))
    head = getattr(network, "head", None) if shown is None else shown.head
    if isinstance(head, str):
        head = network.get_submodule(head)
    if isinstance(head, nn.Linear) or (shown is not None and head is not None):
        head.register_forward_pre_hook(_record_input)
    network.__dict__[_MARK] = True


def overheard(network: nn.Module) -> bool:
    """Whether anything but a capture listens to a module of the network, so that a call has further effects than its outputs."""
    ours = (_record_output, _record_input, logits_alone)
    for module in network.modules():
        for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values()):
            function = hook.func if isinstance(hook, partial) else hook
            if function not in ours and getattr(function, "__module__", "") != _LIBRARYS:
                return True
    return False


def _record_output(stage: str, layout: MapLayout, module: nn.Module, inputs: Any, output: Any) -> None:
    seen = _under_way.seen
    if seen is not None:
        seen[stage] = layout(output)


def _record_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    seen = _under_way.seen
    if seen is not None:
        seen[_EMBEDDING] = inputs[0]


def plain_outputs(answer: Any, features: FeatureMaps, embedding: Tensor | None) -> Outputs:
    """Of a network that answered with its logits, or with ``(logits, exits, exit_embeddings)``, the tuples shallow to deep."""
    logits, exits, embeddings = (answer, (), ()) if isinstance(answer, Tensor) else answer
    return Outputs(logits.float(), features, embedding, exits=tuple(each.float() for each in exits), exit_embeddings=tuple(each.float() for each in embeddings))
