"""Where plugins come from: entry points of the group ``kdarena``, and files given by path; and how one is imported."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib.metadata
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdarena.errors import UserError
from kdarena.files import import_file

GROUP = "kdarena"


@dataclass(frozen=True)
class Origin:
    """Where a plugin comes from.

    Attributes:
        name: of the entry point, or of the file without its ending.
        target: what an entry point names, as ``package.module:attribute``, or a file's whole path.
        is_file: which of both.
        distribution, version: the installed package that brings it, or the file as it was given.
    """

    name: str
    target: str
    is_file: bool
    distribution: str = ""
    version: str = ""


def origins(paths: Iterable[str | Path]) -> list[Origin]:
    """The installed plugins in the order of their names, then the files as they are given, each once.

    Raises:
        UserError: a path is not a file.
    """
    known: list[Origin] = []
    named: dict[Any, tuple[str, str]] = {None: ("", "")}
    for point in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda point: point.name):
        if point.dist not in named:  # each look parses a file
            named[point.dist] = (point.dist.name or "", point.dist.version or "") if point.dist else ("", "")
        known.append(Origin(point.name, point.value, False, *named[point.dist]))
    files: dict[Path, Origin] = {}
    for path in map(Path, paths):
        if path.is_dir():
            raise UserError(f"--plugin-path {path}: a folder; name the Python file in it")
        if not path.is_file():
            raise UserError(f"--plugin-path {path}: no such file")
        files.setdefault(path.resolve(), Origin(path.stem, str(path.resolve()), True, str(path)))
    return [*known, *files.values()]


def load(origin: Origin) -> Any:
    """Import a plugin into this process: what its entry point names, or its module.

    Raises whatever its code raises.
    """
    if not origin.is_file:
        return importlib.metadata.EntryPoint(origin.name, origin.target, GROUP).load()
    return import_file(origin.target, module_of_file(origin))


def module_of_file(origin: Origin) -> str:
    """Name of the module that a plugin's file becomes: one that no import statement can mean, so that a file never shadows a package."""
    return f"kdarena plugin file {hashlib.sha256(os.fsencode(origin.target)).hexdigest()[:12]}"


@contextlib.contextmanager
def printing_to_stderr() -> Iterator[None]:
    """Whatever is printed in the block goes to standard error: by Python, by C code and by processes that are started."""
    with contextlib.suppress(AttributeError, ValueError):  # there is none, or a plugin has closed it
        sys.stdout.flush()
    try:
        kept = os.dup(1)
        os.fstat(2)
    except OSError:  # one of the two is closed: nothing to spoil, or nowhere to go to
        yield
        return
    try:
        os.dup2(2, 1)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        ctypes.CDLL(None).fflush(None)  # what C code has printed and not yet written
        os.dup2(kept, 1)
        os.close(kept)
