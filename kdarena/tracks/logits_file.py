"""Files of a teacher's logits: what they hold, which sample each row belongs to, and what is wrong with them. No torch."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Names = Sequence[tuple[str, ...]]
"""Of each sample of a half, the names that it has."""
SUFFIXES = (".npz", ".safetensors")
SUM_ERROR = 1e-2
"""By which the rows of probabilities may miss 1, as numbers of 16 bits do."""
SMALLEST = 1e-12
"""A probability below it counts as this, since the logarithm of 0 is no number that a network can learn."""
NAMED = 3


@dataclass(frozen=True, eq=False)
class Logits:
    """What a file holds, in the order of the task's samples.

    Attributes:
        train: of the train half, the validation part included [N, C], in fp32.
        test: of the test half [M, C], or None.
        notes: what a user has to know, one line each.
    """

    train: NDArray[np.float32]
    test: NDArray[np.float32] | None
    notes: tuple[str, ...]


def read_logits(path: Path, train: int, test: int, classes: int, names: tuple[Names, Names] | None = None) -> Logits:
    """Read and check a file.

    Args:
        train, test: samples of the two halves, N and M.
        classes: C.
        names: of the samples of both halves, where the file names its rows by ``ids``; None: its arrays are in the order of the halves.

    Raises:
        ValueError: in one line: what the file is, lacks, or has wrong, and what to do.
    """
    arrays = _arrays(path)
    if names is None:
        rows = _by_row(path, arrays, {"train": train, "test": test}, classes)
    else:
        rows = _by_name(path, arrays, dict(zip(("train", "test"), names, strict=True)), classes)
    notes: list[str] = []
    read = {part: _checked(path, part, values, notes) for part, values in rows.items()}
    if "test" not in read:
        notes.append(f"{path}: has no logits of the test samples, so neither the teacher's score on test nor the agreement with it is known")
    return Logits(read["train"], read.get("test"), tuple(notes))


def _arrays(path: Path) -> Mapping[str, NDArray[Any]]:
    """The arrays of a file by name; no pickle is executed."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: write the logits as {' or '.join(SUFFIXES)}, as by numpy.savez(FILE, train=…, test=…)")
    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors.numpy import load_file

            return dict(load_file(str(path)))
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        raise ValueError(f"{path}: can't be read as plain arrays: {_why(error)}") from None
    except Exception as error:  # safetensors raises a class of its own
        raise ValueError(f"{path}: is cut short, or no {path.suffix} file: {_why(error)}") from None


def _why(error: Exception) -> str:
    text = (str(error) or type(error).__name__).splitlines()[0]
    if "Object arrays" in text or "pickle" in text.lower():
        return "it holds Python objects, or is no .npz archive; save arrays of numbers and of text by numpy.savez"
    return f"{type(error).__name__}: {text[:200]}"


def _by_row(path: Path, arrays: Mapping[str, NDArray[Any]], counts: Mapping[str, int], classes: int) -> dict[str, NDArray[Any]]:
    """The halves of a file whose rows are in the order of the data."""
    if "train" not in arrays:
        raise ValueError(f"{path}: has no array 'train' [{counts['train']}, {classes}]{_has(arrays)}; its rows are the training samples in the data's order")
    found = {part: arrays[part] for part in counts if part in arrays}
    for part, logits in found.items():
        _check_shape(path, part, logits, classes)
        if len(logits) != counts[part]:
            raise ValueError(
                f"{path}: array {part!r} has {len(logits)} rows, and the data have {counts[part]} {_samples(part)}; give a row for each, in their order"
            )
    return found


def _by_name(path: Path, arrays: Mapping[str, NDArray[Any]], names: Mapping[str, Names], classes: int) -> dict[str, NDArray[Any]]:
    """The halves of a file whose rows are named."""
    if not {"ids", "logits"} <= arrays.keys():
        example = next((each[0] for each in names["train"]), "…")
        raise ValueError(
            f"{path}: has no arrays 'ids' and 'logits'{_has(arrays)}; the samples are known by names, as {example!r}: give one for each row of logits"
        )
    ids, logits = [str(name) for name in arrays["ids"].ravel().tolist()], arrays["logits"]
    _check_shape(path, "logits", logits, classes)
    if len(ids) != len(logits):
        raise ValueError(f"{path}: has {len(ids)} ids and {len(logits)} rows of logits; give one id for each row")
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice:
        raise ValueError(f"{path}: {_ids(twice)} more than once; name each sample once")
    place = {name: number for number, name in enumerate(ids)}
    found = {part: [next((place[name] for name in each if name in place), -1) for each in samples] for part, samples in names.items()}
    if found["test"] and max(found["test"]) < 0:
        del found["test"]
    missing = [names[part][number][0] for part, places in found.items() for number, at in enumerate(places) if at < 0]
    if missing:
        raise ValueError(f"{path}: lacks {_ids(missing)} of the data; give logits of every sample, or of all but those of test")
    return {part: logits[places] for part, places in found.items()}


def _check_shape(path: Path, name: str, logits: NDArray[Any], classes: int) -> None:
    if logits.dtype.kind not in "fiu":
        raise ValueError(f"{path}: array {name!r} holds {logits.dtype}, no numbers; save logits as float32")
    if logits.ndim != 2 or logits.shape[1] != classes:
        raise ValueError(f"{path}: array {name!r} has the shape {list(logits.shape)}, and the data have {classes} classes; give [samples, {classes}]")


def _checked(path: Path, part: str, values: NDArray[Any], notes: list[str]) -> NDArray[np.float32]:
    """A half's logits in fp32, the logarithm where they are probabilities."""
    logits = values.astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(wrong):
        raise ValueError(f"{path}: logits of {len(wrong)} {_samples(part)} are not finite, first of row {wrong[0]}; compute them again")
    if len(logits) and bool((logits >= 0).all()) and bool((np.abs(logits.sum(axis=1) - 1) < SUM_ERROR).all()):
        notes.append(f"{path}: the rows of {_samples(part)} are probabilities, which sum to 1: their logarithms are the logits")
        logits = np.log(np.maximum(logits, SMALLEST))
    return logits


def _samples(part: str) -> str:
    return "training samples" if part == "train" else "test samples"


def _ids(several: Sequence[str]) -> str:
    listed = ", ".join(repr(name) for name in several[:NAMED])
    return f"{len(several)} id{'s' if len(several) > 1 else ''} ({listed}{', …' if len(several) > NAMED else ''})"


def _has(arrays: Mapping[str, Any]) -> str:
    return f" (it has {', '.join(repr(name) for name in list(arrays)[:5])})" if arrays else " (it is empty)"
