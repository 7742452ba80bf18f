"""Files that are replaced whole: whoever looks sees the old one or the new one, never a part of it; and Python files that are imported whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import secrets
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

PARTIAL = ".partial"
"""End of the name of a file that is being written."""


@contextmanager
def replace_atomically(path: Path) -> Iterator[Path]:
    """Gives a path in the same folder to write to, which takes the place of ``path`` at the end of the block.

    Where the block raises, ``path`` is left as it was and what was written is removed. An ``OSError`` names ``path``.
    """
    # a name of its own: readers that write without a lock never write into each other's file
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        yield partial
        os.replace(partial, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError) and error.errno is not None and error.filename in (None, str(partial)):
            raise OSError(error.errno, error.strerror, str(path)) from error  # writing itself names no file
        raise


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file's whole content, text as UTF-8; it is whole also after a loss of power.

    Raises:
        OSError: it can't be written; the error names the file.
    """
    with replace_atomically(path) as partial, partial.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def folder_at_once(path: Path) -> Iterator[Path]:
    """Gives a new folder to write to, which becomes ``path`` at the end of the block, with all its files or not at all.

    An older folder of that name is replaced as a whole. Where the block raises, it is left as it was and what was written is removed.
    An ``OSError`` that names no file names ``path``.
    """
    path, token = Path(os.path.abspath(path)), secrets.token_hex(4)
    partial, old = (path.with_name(f".{path.name}.{token}{end}") for end in (PARTIAL, f".old{PARTIAL}"))
    try:
        partial.mkdir()
        yield partial
        if path.exists():
            path.rename(old)
        partial.rename(path)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if old.exists() and not path.exists():
            old.rename(path)
        if isinstance(error, OSError) and error.errno is not None and str(error.filename or partial).startswith(str(partial)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    shutil.rmtree(old, ignore_errors=True)


def remove_partial(folders: Iterable[Path]) -> None:
    """Remove what writers that were killed left in these folders; a folder may be missing."""
    for folder in folders:
        with contextlib.suppress(OSError):
            for path in folder.glob(f"*{PARTIAL}"):
                path.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """The sha256 of a file's content in hexadecimal digits; raises ``OSError`` where it can't be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(path: Path) -> str:
    """16 hexadecimal digits of a file's content; raises ``OSError`` where it can't be read."""
    return sha256_of(path)[:16]


def import_file(path: str | Path, name: str) -> ModuleType:
    """Import a Python file as a module of this name, which no other has; raises whatever its code raises, and leaves no part of a module then.

    Raises:
        ImportError: its name does not end as a Python file's does.
    """
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise ImportError(f"{path} is no Python file: its name does not end in .py")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    try:
        specification.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module
