"""The output directory: what belongs to it, its format, and who may write."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from kdarena.errors import UserError

FORMAT = 1
"""Version of the directory's layout, of the tags of a run and of what a spec's key is made of."""

MARK = "kdarena.json"
LOCK = "kdarena.lock"


def claim(directory: Path) -> None:
    """Make ``directory`` an output directory, or check that it is one of this version.

    Raises:
        UserError: it is a file, it can't be written, it holds something else, or it is of another version.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        mark = directory / MARK
        if not mark.exists():
            strange = next((entry.name for entry in sorted(directory.iterdir()) if entry.name not in (LOCK, f"{MARK}.partial")), None)
            if strange is not None:
                raise UserError(f"{directory} holds {strange!r} but no {MARK}: it is no output directory of kdarena; choose another with --out")
            write_atomically(mark, json.dumps({"format": FORMAT}) + "\n")
    except OSError as error:
        raise UserError(f"{directory}: can't be used as output directory ({error.strerror or error}); choose another with --out") from error
    check(directory)


def check(directory: Path) -> None:
    """Check that ``directory`` is an output directory of this version.

    Raises:
        UserError: it isn't; the line says what to do.
    """
    mark = directory / MARK
    if not mark.is_file():
        raise UserError(f"{directory}: no record here; run first: kdarena run --plugins all --out {directory}")
    try:
        found: Any = json.loads(mark.read_text(encoding="utf-8"))
        version = found["format"] if isinstance(found, Mapping) else None
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{mark}: can't be read ({type(error).__name__}); restore it or choose another directory with --out") from error
    if version != FORMAT:
        raise UserError(f"{directory} is of format {version!r}, this kdarena writes format {FORMAT}; choose another directory with --out")


def lock(directory: Path) -> IO[str]:
    """Take the directory for writing, until the file returned is closed or the process ends in whatever way.

    Raises:
        UserError: another process writes there.
    """
    file = (directory / LOCK).open("a", encoding="utf-8")
    if sys.platform == "win32":  # no advisory locks of this kind; a second writer is then the user's to avoid
        return file
    import fcntl

    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise UserError(f"{directory}: another kdarena is writing there; wait for it or choose another directory with --out") from error
    return file


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that whoever looks sees the old one or the new one, never a half."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
