"""The output directory: what belongs to it, its format, and who may write."""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from kdarena.errors import UserError
from kdarena.files import write_atomically

FORMAT = 3
"""Version of the directory's layout, of a run's file and of what a spec's key is made of. Format 1 kept its runs in MLflow alone."""
READABLE = (2, FORMAT)
"""Versions that are read, and written on: the runs of format 2 do not say which code, torch and device computed them, and have boards of their own."""

MARK = "kdarena.json"
LOCK = "kdarena.lock"


def claim(directory: Path) -> None:
    """Make ``directory`` an output directory, or check that it is one of this version.

    Raises:
        UserError: it is a file, it can't be written, it holds something else, or it is of another version.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if (directory / MARK).exists():
            if check(directory) != FORMAT:
                mark(directory)
        else:
            strange = next((entry.name for entry in sorted(directory.iterdir()) if entry.name not in (LOCK, f"{MARK}.partial")), None)
            if strange is not None:
                raise UserError(f"{directory} holds {strange!r} but no {MARK}: it is no output directory of kdarena; choose another with --out")
            mark(directory)
    except OSError as error:
        raise UserError(f"{directory}: can't be used as output directory ({error.strerror or error}); choose another with --out") from error
    check(directory)


def mark(directory: Path) -> None:
    """Write down that ``directory`` is an output directory of this version."""
    write_atomically(directory / MARK, json.dumps({"format": FORMAT}) + "\n")


def check(directory: Path) -> int:
    """Check that ``directory`` is an output directory of a version that can be read; returns it.

    Raises:
        UserError: it isn't; the line says what to do.
    """
    version = format_of(directory)
    if version == 1:
        raise UserError(f"{directory} is of format 1, this kdarena reads format {FORMAT}; convert it: kdarena record convert --out {directory}")
    if version not in READABLE:
        raise UserError(f"{directory} is of format {version!r}, this kdarena writes format {FORMAT}; choose another directory with --out")
    return int(version)


def format_of(directory: Path) -> Any:
    """The version that an output directory says it is of.

    Raises:
        UserError: it is no output directory, or does not say.
    """
    path = directory / MARK
    if not path.is_file():
        raise UserError(f"{directory}: no record here; run first: kdarena run --plugins all --out {directory}")
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
        return values["format"] if isinstance(values, Mapping) else None
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: can't be read ({type(error).__name__}); restore it or choose another directory with --out") from error


def lock(directory: Path) -> IO[str]:
    """Take the directory for writing, until the file returned is closed or the process ends in whatever way.

    Raises:
        UserError: another process writes there.
    """
    file = (directory / LOCK).open("a", encoding="utf-8")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise UserError(f"{directory}: another kdarena is writing there; wait for it or choose another directory with --out") from error
    return file


def safe_name(text: str, also: str = "") -> str:
    """A name that is no path and no markup, and different for different texts.

    Args:
        text: whatever a plugin or a task calls itself.
        also: further characters to keep.
    """
    kept = re.sub(rf"[^A-Za-z0-9._{re.escape(also)}-]+", "-", text).strip(".-")[:80]
    return kept if kept == text else f"{kept or 'name'}-{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:8]}"
