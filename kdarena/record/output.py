"""The output directory: what belongs to it, its format, and who may write."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from kdarena.errors import Notice, UserError
from kdarena.files import remove_partial, write_atomically

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
        if _is_ours(directory):
            if check(directory) != FORMAT:
                mark(directory)
        else:
            strange = next((name for name in sorted(path.name for path in directory.iterdir()) if not name.startswith(MARK)), None)
            if strange is not None:
                raise UserError(f"{directory} holds {strange!r} but no {MARK}: it is no output directory of kdarena; choose another with --out")
            mark(directory)
    except OSError as error:
        raise UserError(f"{directory}: can't be used as output directory ({error.strerror or error}); choose another with --out") from error
    check(directory)


def mark(directory: Path) -> None:
    """Write down that ``directory`` is an output directory of this version."""
    write_atomically(directory / MARK, json.dumps({"format": FORMAT}) + "\n")


def check(directory: Path, *, restore: bool = True) -> int:
    """Check that ``directory`` is an output directory of a version that can be read; returns it.

    Args:
        restore: as in :func:`format_of`.

    Raises:
        UserError: it isn't; the line says what to do.
    """
    version = format_of(directory, restore=restore)
    if version == 1:
        raise UserError(f"{directory} is of format 1, this kdarena reads format {FORMAT}; convert it: kdarena record convert --out {directory}")
    if version not in READABLE:
        raise UserError(f"{directory} is of format {version!r}, this kdarena writes format {FORMAT}; choose another directory with --out")
    return int(version)


def format_of(directory: Path, *, restore: bool = True) -> Any:
    """The version that an output directory says it is of.

    Args:
        restore: whether a mark that was lost is written again, which is said; otherwise nothing is written.

    Raises:
        UserError: it is no output directory, or does not say.
    """
    path = directory / MARK
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
        return values["format"] if isinstance(values, Mapping) else None
    except FileNotFoundError:
        reason = "it was missing"
    except (ValueError, KeyError):
        reason = "it was not whole"
    except OSError as error:
        reason = error.strerror or str(error)
    if not _is_ours(directory):
        raise UserError(f"{directory}: no record here; run first: kdarena run --plugins all --out {directory}")
    if (directory / "mlflow.db").exists() and not (directory / "runs").is_dir():
        raise UserError(
            f'{path}: {reason}, and the runs are in mlflow.db alone, as in format 1; write {{"format": 1}} to it, then: kdarena record convert --out {directory}'
        )
    if not restore:
        return FORMAT
    with contextlib.suppress(OSError):  # another's directory may be read and not be written
        mark(directory)
        warnings.warn(f"{path}: {reason}; written again, since the directory is an output directory of kdarena", category=Notice, stacklevel=3)
    return FORMAT


def lock(directory: Path) -> IO[str]:
    """Take the directory for writing, until the file returned is closed or the process ends in whatever way.

    Raises:
        UserError: another process writes there, or nobody may.
    """
    try:
        file = (directory / LOCK).open("a", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{directory}: can't be written ({error.strerror}); choose another directory with --out") from error
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise UserError(f"{directory}: can't be locked for writing ({error.strerror}); choose another directory with --out") from error
        raise UserError(f"{directory}: another kdarena is writing there; wait for it or choose another directory with --out") from error
    return file


def clean(directory: Path) -> None:
    """Remove what a killed command left half written; call it with the lock held."""
    with contextlib.suppress(OSError):
        remove_partial([directory, *(path for path in directory.iterdir() if path.is_dir() and path.name != "artifacts")])


def _is_ours(directory: Path) -> bool:
    """Whether a directory is an output directory, by its mark or by what only a command of ours leaves there."""
    if (directory / MARK).exists() or (directory / LOCK).exists():
        return True
    try:
        return any(re.fullmatch(r"[0-9a-f]{32}\.json", path.name) for path in (directory / "runs").iterdir())
    except OSError:
        return False


def safe_name(text: str, also: str = "") -> str:
    """A name that is no path and no markup, and different for different texts.

    Args:
        text: whatever a plugin or a task calls itself.
        also: further characters to keep.
    """
    kept = re.sub(rf"[^A-Za-z0-9._{re.escape(also)}-]+", "-", text).strip(".-")[:80]
    return kept if kept == text else f"{kept or 'name'}-{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:8]}"
