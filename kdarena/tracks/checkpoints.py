"""Read and write the weights of a network. No pickle is executed: a file that wants to run code is refused."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from kdarena.files import digest_of, replace_atomically
from kdarena.tracks.state_dicts import WRAPPERS, Candidate, candidates, differences, fitting, misfit, named
from kdarena.tracks.weight_files import content_of


def save(network: nn.Module, path: str | Path) -> str:
    """Write parameters and buffers as safetensors, the whole file or none; returns the file's digest.

    A tensor that several names share is written under each.

    Raises:
        OSError: it can't be written; the error names the file.
    """
    from safetensors.torch import save as to_bytes

    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}
    with replace_atomically(Path(path)) as partial:
        partial.write_bytes(to_bytes(tensors))  # what safetensors writes itself fails with an error of its own, which names neither file nor cause
        return digest_of(partial)


def load_into(network: nn.Module, path: str | Path, which: str | None = None, called: str | None = None) -> tuple[str, ...]:
    """Fill a network with the weights of a file, all of them or none.

    Reads safetensors and what ``torch.save`` writes, whatever the name of the file, and folders of transformers: a state dict by itself or under the keys
    of public programs (``state_dict``, ``model``, ``model_state_dict``, ``model_ema``, …, also within each other), under names with any prefix
    (``module.``, ``model.``, ``backbone.``, ``_orig_mod.``, …).

    Args:
        which: of several weights in a file: ``ema``, a key or a prefix; None: those that were trained, not an average of them.
        called: the name under which the user asked for the network, for messages.

    Returns:
        what a user has to know, one line each: which of several weights were used, and what was left out.

    Raises:
        ValueError: in one line: the file can't be read, is no checkpoint, or the first tensors that do not fit.
    """
    path = Path(path)
    every = candidates(content_of(path), network)
    if not every:
        raise ValueError(f"{path}: holds no state dict, neither by itself nor under {', '.join(WRAPPERS)}")
    asked = every if which is None else named(every, which)
    if not asked:
        raise ValueError(f"{path}: has no weights of the name {which!r}; it has {_listed(every)}")
    weights = {candidate.name: fitting(candidate, network) for candidate in asked}
    fits = [candidate for candidate in asked if weights[candidate.name] is not None]
    if not fits:
        nearest = min(asked, key=lambda candidate: sum(1 for _ in differences(candidate, network)))
        whose = f"of {nearest.name}: " if len(every) > 1 else ""
        raise ValueError(f"{path}: {whose}{misfit(nearest, network, called)}")
    chosen = fits[0]
    network.load_state_dict(weights[chosen.name] or {})
    return tuple(_notes(path, chosen, every))


def _notes(path: Path, chosen: Candidate, every: list[Candidate]) -> list[str]:
    fitting_others = [candidate for candidate in every if candidate is not chosen and candidate.weights.keys() >= chosen.weights.keys()]
    notes = []
    if fitting_others:
        others = _listed(fitting_others)
        notes.append(f"{path}: uses the weights {chosen.name or 'at its top'!r}; it also has {others} (--teacher-weights takes others)")
    if chosen.left_over:
        notes.append(f"{path}: {chosen.left_over} tensors that are not under {chosen.name} are left out")
    return notes


def _listed(several: list[Candidate]) -> str:
    return ", ".join(candidate.name or "the weights at its top" for candidate in several)
