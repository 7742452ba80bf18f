"""Decoded pictures on disk: each is read, checked and decoded once to bytes of one size, which are memory-mapped from then on.

A folder and a size have one place in the cache, with an index of its files by size and time of change, so that a second start reads no picture.
Pixels are kept by the digest of a file's content: a picture that was moved or renamed isn't decoded again. Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from kdarena.errors import Notice
from kdarena.files import PARTIAL, write_atomically
from kdarena.tracks.classification.listing import File, shown
from kdarena.tracks.classification.pictures import Picture, Unreadable, decode, large_pictures_refused, short_side

VERSION = 1
"""Of the way in which files become pixels; another one decodes all again."""
CACHE = "KDARENA_CACHE"
"""Environment variable that says where decoded pictures lie."""
UNUSED_DAYS = 60
"""What was not used for so long is deleted."""
DIGEST_BYTES = 16
LARGEST_FILE = 2**29
"""Bytes of a file that is read."""
ANNOUNCED_FROM = 1_000
"""Files from which it is said that they are being decoded."""
AT_ONCE = 1_024
"""Files whose pixels may wait for being written."""
MEASURED = 200
"""Files whose heads are looked at for the size that pictures have."""
INDEX = "index.json"


@dataclass(frozen=True)
class Verdict:
    """What is known of a file.

    Attributes:
        digest: of its content, in hexadecimal digits; empty where it could not be read.
        problem: why it can't be used, and what to do, or None.
        oddities: see :class:`kdarena.tracks.classification.pictures.Picture`.
    """

    digest: str
    problem: str | None = None
    oddities: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Decoded:
    """The files of a folder, read.

    Attributes:
        verdicts: by path.
        place: the file of the pixels.
        rows: of the pixels, by digest.
        count: rows of the file.
        size: pixels of a side.
    """

    verdicts: Mapping[str, Verdict]
    place: Path
    rows: Mapping[str, int]
    count: int
    size: int

    def pixels(self) -> np.ndarray:
        """All rows [N, S, S, 3] of bytes, memory-mapped for reading; raises ``OSError`` where the file is gone."""
        return np.memmap(self.place, np.uint8, "r", shape=(self.count, self.size, self.size, 3))


@dataclass
class _Index:
    """What is kept of a folder: pixels by the digests of their rows, and files as they were."""

    pixels: str = ""
    digests: list[str] = field(default_factory=list)
    files: dict[str, list[Any]] = field(default_factory=dict)


def decoded(root: Path, files: Sequence[File], size: int) -> Decoded:
    """Each file of a folder decoded to ``size`` x ``size`` pixels, or why it can't be used.

    Raises:
        ValueError: in one line: the cache can't be written.
    """
    folder = _folder(root, size)
    try:
        return _decoded(root, files, size, folder)
    except OSError as error:
        remedy = f"make room there, or let {CACHE} name another folder for decoded pictures"
        raise ValueError(f"{shown(folder)}: {os.strerror(error.errno or 0)}: {remedy}") from error


def _decoded(root: Path, files: Sequence[File], size: int, folder: Path) -> Decoded:
    index = _read(folder, size)
    verdicts = {file.path: verdict for file in files if (verdict := _known(index, file)) is not None}
    absent = [file for file in files if file.path not in verdicts]
    if absent:
        index = _add(root, folder, index, absent, verdicts, size)
        index.files = {file.path: [file.size, file.modified, *_plain(verdicts[file.path])] for file in files}
        write_atomically(folder / INDEX, json.dumps({"version": VERSION, **vars(index)}))
        _tidy(folder, index.pixels)
    else:
        with contextlib.suppress(OSError):
            os.utime(folder / INDEX)  # it is used
    rows = {digest: row for row, digest in enumerate(index.digests)}
    return Decoded(verdicts, folder / index.pixels, rows, len(index.digests), size)


def usual_side(root: Path, files: Sequence[File]) -> int | None:
    """The median of the short sides of pictures spread over the files, in pixels; None where there is no picture."""
    spread = [files[number * len(files) // min(len(files), MEASURED)] for number in range(min(len(files), MEASURED))]

    with large_pictures_refused(), _threads() as threads:
        sides = sorted(side for side in threads.map(short_side, (root / file.path for file in spread)) if side is not None)
    return sides[len(sides) // 2] if sides else None


def cache_folder() -> Path:
    """Where decoded pictures lie: below ``KDARENA_CACHE``, or in the user's cache."""
    stated, home = os.environ.get(CACHE, ""), os.environ.get("XDG_CACHE_HOME", "")
    if stated:
        return Path(stated).expanduser().absolute() / "images"
    return (Path(home) if os.path.isabs(home) else Path.home() / ".cache") / "kdarena" / "images"


def _folder(root: Path, size: int) -> Path:
    return cache_folder() / hashlib.sha256(os.fsencode(f"{VERSION} {size} ") + os.fsencode(root)).hexdigest()[:16]


def _read(folder: Path, size: int) -> _Index:
    """What is kept; nothing where it is not whole."""
    try:
        values = json.loads((folder / INDEX).read_bytes())
        index = _Index(values["pixels"], values["digests"], values["files"])
        whole = values["version"] == VERSION and (folder / index.pixels).stat().st_size == len(index.digests) * size * size * 3
    except (OSError, ValueError, KeyError, TypeError):
        return _Index()
    return index if whole else _Index()


def _known(index: _Index, file: File) -> Verdict | None:
    """What is known of a file that has not changed and is a picture; others are looked at each time, since a newer Pillow may read them."""
    kept = index.files.get(file.path)
    if kept is None or kept[:2] != [file.size, file.modified] or kept[3] is not None:
        return None
    return Verdict(kept[2], kept[3], tuple(kept[4]))


def _plain(verdict: Verdict) -> tuple[Any, ...]:
    return verdict.digest, verdict.problem, verdict.oddities


def _add(root: Path, folder: Path, index: _Index, absent: Sequence[File], verdicts: dict[str, Verdict], size: int) -> _Index:
    """Read files and write their pixels in addition to those of pictures that are still there; fills in their verdicts."""
    if len(absent) >= ANNOUNCED_FROM:
        warnings.warn(f"{shown(root)}: {len(absent):,} files are read and decoded once, into {shown(folder)}", category=Notice, stacklevel=2)
    known = {digest: tuple(oddities) for _, _, digest, problem, oddities in index.files.values() if problem is None}
    folder.mkdir(parents=True, exist_ok=True)
    writing = folder / f"{secrets.token_hex(4)}{PARTIAL}"
    try:
        with writing.open("wb") as file:
            digests: dict[str, None] = {}
            for one, verdict, picture in _each(root, absent, size, known):
                verdicts[one.path] = verdict
                if picture is not None and verdict.digest not in digests:
                    digests[verdict.digest] = None
                    file.write(picture.pixels.tobytes())
            if not digests and index.pixels:
                return index
            _copy(folder, index, {verdict.digest for verdict in verdicts.values()} - digests.keys(), file, digests, size)
            file.flush()
            os.fsync(file.fileno())
        name = f"pixels-{hashlib.sha256(''.join(digests).encode()).hexdigest()[:16]}.bin"
        os.replace(writing, folder / name)
    finally:
        with contextlib.suppress(OSError):
            writing.unlink(missing_ok=True)
    return _Index(name, list(digests))


def _copy(folder: Path, index: _Index, needed: set[str], file: BinaryIO, digests: dict[str, None], size: int) -> None:
    """Write the pixels of rows that are needed, and their digests behind the others."""
    if not index.pixels or not needed:
        return
    with (folder / index.pixels).open("rb") as old:
        for digest in index.digests:
            pixels = old.read(size * size * 3)
            if digest in needed:
                file.write(pixels)
                digests[digest] = None


def _each(root: Path, files: Sequence[File], size: int, known: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[File, Verdict, Picture | None]]:
    """Read files in threads; a picture of known content is not decoded.

    Args:
        known: oddities of the pictures whose pixels are there, by digest.
    """
    with large_pictures_refused(), _threads() as threads:
        for start in range(0, len(files), AT_ONCE):
            some = files[start : start + AT_ONCE]
            yield from ((file, *found) for file, found in zip(some, threads.map(partial(_examine, root, size, known), some), strict=True))


def _examine(root: Path, size: int, known: Mapping[str, tuple[str, ...]], file: File) -> tuple[Verdict, Picture | None]:
    if file.size > LARGEST_FILE:
        return Verdict("", f"has {file.size / 2**20:,.0f} MiB: make it smaller"), None
    try:
        content = (root / file.path).read_bytes()
    except OSError as error:
        return Verdict("", f"can't be read ({os.strerror(error.errno or 0)}): allow it to be read"), None
    digest = hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest()
    if digest in known:
        return Verdict(digest, None, known[digest]), None
    try:
        picture = decode(content, size)
    except Unreadable as error:
        return Verdict(digest, str(error)), None
    return Verdict(digest, None, picture.oddities), picture


@contextlib.contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """Decoding lets other threads run."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        yield threads


def _tidy(folder: Path, pixels: str) -> None:
    """Delete what this folder's index does not name any more, and what was not used for long."""
    oldest = time.time() - UNUSED_DAYS * 86400
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.name not in (INDEX, pixels) and path.stat().st_mtime < time.time() - 3600:
                path.unlink()  # a command that has just read the old index may still open them
        for other in folder.parent.iterdir():
            with contextlib.suppress(OSError):
                if (other / INDEX).stat().st_mtime < oldest:
                    shutil.rmtree(other)
