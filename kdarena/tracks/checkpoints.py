"""Read and write the weights of a network. No pickle is executed: a file that wants to run code is refused."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdarena.files import digest_of, replace_atomically

PICKLED = (".pth", ".pt", ".ckpt", ".bin")
WRAPPERS = ("model", "state_dict", "net", "model_state_dict")
"""Keys under which public checkpoints keep the weights: ``model`` in RepDistiller and mdistiller."""
PREFIX = "module."
"""What ``nn.DataParallel`` puts before every name."""


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


def load_into(network: nn.Module, path: str | Path) -> None:
    """Fill a network with the weights of a file, all of them or none.

    Reads ``.safetensors``, and ``.pth`` or ``.pt`` as a state dict or as public benchmarks wrap it (``{"model": …}``,
    ``{"state_dict": …}``, names with a leading ``module.``).

    Raises:
        ValueError: in one line: the file can't be read, is no checkpoint, or the first tensor that does not fit.
    """
    path = Path(path)
    given = _read(path)
    wanted = network.state_dict()
    for name, tensor in wanted.items():
        if name not in given:
            if name.endswith("num_batches_tracked"):
                given[name] = tensor  # absent from checkpoints older than torch 0.4.1, and unused with a fixed momentum
                continue
            raise ValueError(f"{path}: tensor {name!r} is missing; is it a checkpoint of {type(network).__name__}?")
        if given[name].shape != tensor.shape:
            raise ValueError(f"{path}: tensor {name!r} has shape {tuple(given[name].shape)}, but the network's is {tuple(tensor.shape)}")
    unknown = next((name for name in given if name not in wanted), None)
    if unknown is not None:
        raise ValueError(f"{path}: tensor {unknown!r} is unknown to the network; is it a checkpoint of {type(network).__name__}?")
    network.load_state_dict(given)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return dict(load_file(str(path)))
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path}: not a safetensors file: {_first_line(error)}") from None
    if path.suffix not in PICKLED:
        raise ValueError(f"{path}: unknown kind of checkpoint; expected .safetensors or {', '.join(PICKLED)}")
    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{path}: can't be read as plain weights: {_first_line(error)}") from None
    return _weights(content, path)


def _weights(content: Any, path: Path) -> dict[str, Tensor]:
    """Look through the wrappers and prefixes for a mapping of names to tensors."""
    for _ in range(2):
        if isinstance(content, Mapping):
            content = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), content)
    if not isinstance(content, Mapping) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"{path}: holds no state dict, neither by itself nor under {', '.join(WRAPPERS)}")
    if all(name.startswith(PREFIX) for name in content):
        return {name.removeprefix(PREFIX): tensor for name, tensor in content.items()}
    return dict(content)


def _numpy_scalars() -> list[Any]:
    """What public checkpoints hold in addition to weights: accuracies as numpy scalars. These constructors only build numbers."""
    import numpy
    from numpy._core import multiarray

    kinds = [type(numpy.dtype(kind)) for kind in ("f8", "f4", "i8", "i4", "b1")]
    scalar: Any = multiarray.scalar  # type: ignore[attr-defined,unused-ignore]
    return [scalar, (scalar, "numpy.core.multiarray.scalar"), numpy.dtype, *kinds]


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
