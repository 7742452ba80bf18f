"""Read files of weights, recognised by their content and not by their names. No pickle of a stranger is executed."""

from __future__ import annotations

import json
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from kdarena.errors import described

LONGEST_HEADER = 100_000_000
"""Bytes of a header that safetensors reads."""
PICKLE_PROTOCOLS = (2, 3, 4, 5)
FOLDERS = ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json", "pytorch_model.bin.index.json")
"""Files of weights in a folder of transformers."""
OF_ANOTHER_KIND: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the weights: run git lfs pull where it came from"),
    (b"\x89HDF", "an HDF5 file; save the weights by torch.save(network.state_dict(), FILE)"),
    (b"\x1f\x8b", "compressed by gzip: unpack it first"),
    (b"<", "a page of HTML or XML, not weights: the download failed"),
    (b"{", "a text in JSON, not weights"),
)
DICTIONARIES = (
    *("pytorch_lightning.utilities.parsing.AttributeDict", "lightning.pytorch.utilities.parsing.AttributeDict"),
    *("lightning_fabric.utilities.data.AttributeDict", "lightning.fabric.utilities.data.AttributeDict"),
    *("easydict.EasyDict", "yacs.config.CfgNode", "addict.addict.Dict"),
)
"""Classes of settings that training programs put next to the weights; a plain dictionary is made in their place, so that their own code is not used."""
UNREAD = ("argparse.Namespace", "pathlib.PosixPath", "pathlib.WindowsPath", "pathlib._local.PosixPath", "pathlib._local.WindowsPath")
"""Other ones, in whose place there is an empty value."""


class _Unread:
    """In the place of settings that are of no matter here."""

    def __new__(cls, *values: object, **named: object) -> _Unread:
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


def content_of(path: Path) -> Any:
    """What a file of weights holds; of a folder of transformers, its weights.

    Raises:
        ValueError: in one line that names the file: it is missing, no weights, damaged, or wants to run code.
    """
    if path.is_dir():
        return _of_folder(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            begin = file.read(64)
    except OSError as error:
        raise ValueError(f"{path}: can't be read: {error.strerror or error}") from None
    if not begin:
        raise ValueError(f"{path}: can't be read as plain weights: the file is empty")
    if _is_safetensors(begin) or path.suffix == ".safetensors":
        return _safetensors(path)
    if begin.startswith(b"PK\x03\x04"):
        _check_archive(path)
        return _pickled(path)
    if begin[0] == 0x80 and len(begin) > 1 and begin[1] in PICKLE_PROTOCOLS:
        return _pickled(path)
    what = next((what for magic, what in OF_ANOTHER_KIND if begin.lstrip().startswith(magic)), None)
    raise ValueError(f"{path}: {what or 'unknown kind of checkpoint: neither safetensors nor a file of torch.save'}; it can't be read as plain weights")


def _is_safetensors(begin: bytes) -> bool:
    """Whether a file begins with the length of a header in JSON, and such a header; also one that is cut short."""
    if len(begin) < 10 or begin[8:10] != b'{"':
        return False
    (length,) = struct.unpack("<Q", begin[:8])
    return bool(length <= LONGEST_HEADER)


def _safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(str(path)))
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path}: not a safetensors file, or cut short: {_first_line(error)}") from None


def _check_archive(path: Path) -> None:
    """An archive of torch.save, by the names in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ValueError(
            f"{path}: can't be read as plain weights: an archive that is damaged or cut short ({_first_line(error)}); copy or download it again"
        ) from None
    if names and all(name.endswith(".npy") for name in names):
        raise ValueError(f"{path}: an archive of NumPy arrays; it can't be read as plain weights")
    if any("/code/" in f"/{name}" for name in names):
        raise ValueError(f"{path}: a TorchScript archive, not weights alone: save the weights by torch.save(torch.jit.load(FILE).state_dict(), OTHER)")
    if not any(name.endswith("data.pkl") for name in names):
        raise ValueError(f"{path}: an archive, but none of torch.save; unpack it first: it can't be read as plain weights")


def _pickled(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals([*_numpy_scalars(), *((OrderedDict, name) for name in DICTIONARIES), *((_Unread, name) for name in UNREAD)]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: can't be read as plain weights: {_refused(path, error)}") from None
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle may raise anything
        raise ValueError(f"{path}: can't be read as plain weights: {described(error)[:200]}") from None


def _refused(path: Path, error: Exception) -> str:
    """What torch refuses to build, and what to do."""
    refused = sorted(set(re.findall(r"GLOBAL ([\w.]+)", str(error))))
    with _nothing_raised():
        refused = sorted({name for name in torch.serialization.get_unsafe_globals_in_checkpoint(str(path)) if name not in (*DICTIONARIES, *UNREAD)}) or refused
    if not refused:
        return _first_line(error)
    named = f"{', '.join(refused[:3])}{' and more' if len(refused) > 3 else ''}"
    whole = any(name.startswith("torch.nn.modules.") for name in refused)  # a network, or a dictionary that keeps a loss next to its weights
    taken = ".state_dict()" if whole else "['state_dict']"
    other = "; of a dictionary take ['state_dict']" if whole else ""
    return (
        f"it holds objects of {named}, which could run code; where you trust it, save the weights alone: "
        f"torch.save(torch.load(FILE, weights_only=False){taken}, 'weights.pth'){other}, or the key that it keeps them under"
    )


@contextmanager
def _nothing_raised() -> Iterator[None]:
    try:
        yield
    except Exception:  # a better message is not worth another error
        return


def _of_folder(folder: Path) -> Any:
    found = next((folder / name for name in FOLDERS if (folder / name).is_file()), None)
    if found is None:
        raise ValueError(f"{folder}: a folder without {' or '.join(FOLDERS[:2])}; name the file of weights")
    if found.suffix != ".json":
        return content_of(found)
    try:
        parts = sorted(set(json.loads(found.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{found}: can't be read: {described(error)}") from None
    weights: dict[str, Any] = {}
    for part in parts:
        if Path(str(part)).name != part:
            raise ValueError(f"{found}: names {part!r}, which is not a file next to it")
        weights |= content_of(folder / part)
    return weights


def _numpy_scalars() -> list[Any]:
    """What public checkpoints hold in addition to weights: accuracies as numpy scalars. These constructors only build numbers."""
    import numpy
    from numpy._core import multiarray

    kinds = [type(numpy.dtype(kind)) for kind in ("f8", "f4", "i8", "i4", "b1")]
    scalar: Any = multiarray.scalar  # type: ignore[attr-defined,unused-ignore]
    return [scalar, (scalar, "numpy.core.multiarray.scalar"), numpy.dtype, *kinds]


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
