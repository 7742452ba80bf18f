"""How many test samples are also training samples, by hashes of what they are made of; labels are not looked at. Imports nothing heavy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

HASH_BYTES = 16
"""Of a sample's hash: no two of a million different samples share one."""


def in_train(test: Iterable[bytes | np.ndarray], train: Iterable[bytes | np.ndarray]) -> int:
    """How many of the test samples are equal to one of train, byte by byte."""
    known = set(map(_hash, train))
    return sum(_hash(sample) in known for sample in test)


def rows_in_train(test: np.ndarray, train: np.ndarray) -> int:
    """The same of the rows of two arrays [N, …]."""
    import numpy as np

    return in_train(np.ascontiguousarray(test).reshape(len(test), -1), np.ascontiguousarray(train).reshape(len(train), -1))


def texts_in_train(test: Iterable[Sequence[str]], train: Iterable[Sequence[str]]) -> int:
    """The same of texts, or of tuples of some; how much white space is between words makes no difference."""
    return in_train(*(("\n".join(" ".join(text.split()) for text in texts).encode() for texts in every) for every in (test, train)))


def files_in_train(test: Sequence[Path], train: Sequence[Path]) -> int:
    """The same of files, of which only those are read whose size is one of both lists."""
    sizes = {path: path.stat().st_size for path in (*test, *train)}
    shared = {sizes[path] for path in test} & {sizes[path] for path in train}
    return in_train(*((path.read_bytes() for path in paths if sizes[path] in shared) for paths in (test, train)))


def _hash(sample: bytes | np.ndarray) -> bytes:
    return hashlib.blake2b(sample if isinstance(sample, bytes) else sample.data, digest_size=HASH_BYTES).digest()
