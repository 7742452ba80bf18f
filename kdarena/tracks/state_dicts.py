"""Weights among what a checkpoint holds: found under any wrapper and prefix, and compared with what a network wants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

WRAPPERS = ("state_dict", "model", "model_state_dict", "net", "network", "weights", "state_dict_ema", "model_ema", "ema")
"""Keys under which public checkpoints keep the weights, those first that are used where several fit."""
NO_WEIGHTS = ("optimizer", "optim", "scheduler", "scaler", "callbacks", "loops", "hyper_parameters")
"""Words in keys behind which there are no weights."""
AVERAGED = ("ema", "swa", "averaged", "shadow")
"""Words in names of weights that are a moving average."""
DEPTH = 4
"""Wrappers within each other."""
INSIDE = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What compilers and wrappers of modules put into names, at any place."""
FILLED = ("num_batches_tracked", "position_ids", "relative_position_index", "attn_mask")
"""Ends of the names of buffers that follow from the architecture or are not used: of old checkpoints they may be absent, of others superfluous."""
SUPERFLUOUS = (*FILLED, "total_ops", "total_params", "n_averaged")
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.", "aux_classifier.")
"""Begins of the names of classifiers that networks of torchvision have for their own training."""
MOST_DIFFERENCES = 3


@dataclass(frozen=True)
class Candidate:
    """Weights in a checkpoint.

    Attributes:
        name: their keys, and the prefix that was taken off their names, with dots; empty where the checkpoint is the weights.
        weights: by the names without prefix.
        left_over: tensors next to them whose names have not the prefix.
    """

    name: str
    weights: Mapping[str, Tensor]
    left_over: int = 0

    @property
    def averaged(self) -> bool:
        """Whether they are a moving average of weights, by their name."""
        return any(word in part for part in self.name.lower().replace("-", "_").split(".") for word in AVERAGED)


def candidates(content: Any, network: nn.Module) -> list[Candidate]:
    """All weights in a checkpoint under the prefixes by which most of their names are the network's, the likeliest first."""
    wanted = network.state_dict().keys()
    found = [candidate for name, weights in _nested(content, (), DEPTH) for candidate in _without_prefix(name, weights, wanted)]
    return sorted(found, key=_preference)


def _nested(content: Any, keys: tuple[str, ...], depth: int) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    if not isinstance(content, Mapping):
        return
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if tensors:
        yield ".".join(keys), tensors
    for key, value in content.items():
        if depth and isinstance(key, str) and not any(word in key.lower() for word in NO_WEIGHTS):
            yield from _nested(value, (*keys, key), depth - 1)


def _without_prefix(name: str, weights: Mapping[str, Tensor], wanted: Any) -> Iterator[Candidate]:
    """The weights under each prefix that makes as many of their names the network's as any does; as they are where none does."""
    plain: dict[str, Tensor] = {}
    for each, tensor in weights.items():
        for inside in INSIDE:
            each = each.replace(inside, "")
        plain[each] = tensor
    fits: Counter[str] = Counter()
    for each in plain:
        starts = [0, *(position + 1 for position, letter in enumerate(each) if letter == ".")]
        fits.update(each[:start] for start in starts if each[start:] in wanted)
    most = max(fits.values(), default=0)
    for prefix in [prefix for prefix, count in fits.items() if count == most] or [""]:
        chosen = {each.removeprefix(prefix): tensor for each, tensor in plain.items() if each.startswith(prefix)}
        yield Candidate(".".join(part for part in (name, prefix.rstrip(".")) if part), chosen, len(plain) - len(chosen))


def _preference(candidate: Candidate) -> tuple[bool, bool, int]:
    """Weights as they were trained before averages of them, a teacher's before others', then by the order of :data:`WRAPPERS`."""
    parts = candidate.name.lower().split(".")
    places = [WRAPPERS.index(part) for part in parts if part in WRAPPERS]
    return candidate.averaged, "teacher" not in parts and "student" in parts, min(places, default=-1)


def named(candidates: list[Candidate], which: str) -> list[Candidate]:
    """The weights of a name: ``ema`` for moving averages, else by a key or a prefix, or by several with dots between them."""
    if which == "ema":
        return [candidate for candidate in candidates if candidate.averaged]
    return [candidate for candidate in candidates if f".{which}." in f".{candidate.name}."]


def fitting(candidate: Candidate, network: nn.Module) -> dict[str, Tensor] | None:
    """All tensors that the network wants, or None where a difference is left."""
    if any(True for _ in differences(candidate, network)):
        return None
    return {name: candidate.weights.get(name, tensor) for name, tensor in network.state_dict().items()}


def differences(candidate: Candidate, network: nn.Module) -> Iterator[str]:
    """What the weights and the network do not have in common, a few words each, in the order of the network."""
    wanted, given = network.state_dict(), candidate.weights
    for name, tensor in wanted.items():
        if name not in given:
            if not name.endswith(FILLED):
                yield f"tensor {name!r} is missing"
        elif given[name].shape != tensor.shape:
            yield f"tensor {name!r} has shape {tuple(given[name].shape)}, but the network's is {tuple(tensor.shape)}"
    for name in given:
        if name not in wanted and not name.endswith(SUPERFLUOUS) and not name.startswith(AUXILIARY):
            yield f"tensor {name!r} is unknown to the network"


def misfit(candidate: Candidate, network: nn.Module, called: str | None = None) -> str:
    """The first differences in one line, and what they mean."""
    every = list(differences(candidate, network))
    said = "; ".join(every[:MOST_DIFFERENCES])
    more = f" and {len(every) - MOST_DIFFERENCES} more" if len(every) > MOST_DIFFERENCES else ""
    heads = _head_sizes(candidate, network)
    if heads is not None:
        return f"{said}{more}: only the head differs; it is made for {heads[0]} classes, and the task has {heads[1]}: train it on the task's classes first"
    return f"{said}{more}; is it a checkpoint of {called or type(network).__name__}?"


def _head_sizes(candidate: Candidate, network: nn.Module) -> tuple[int, int] | None:
    """Classes of the weights and of the network, where nothing but the last layer's shapes differ."""
    wanted = network.state_dict()
    other = {name: tensor for name, tensor in candidate.weights.items() if name in wanted and tensor.shape != wanted[name].shape}
    if not other or len(other) < sum(1 for _ in differences(candidate, network)) or len({name.rpartition(".")[0] for name in other}) > 1:
        return None
    sizes = {(tensor.shape[0], wanted[name].shape[0]) for name, tensor in other.items() if tensor.dim() and tensor.shape[1:] == wanted[name].shape[1:]}
    return sizes.pop() if len(sizes) == 1 and next(reversed(wanted)).rpartition(".")[0] == next(iter(other)).rpartition(".")[0] else None
