"""A task that is written in Python: a function that returns its card, named as ``MODULE:FUNCTION`` or ``FILE.py:FUNCTION``."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from kdarena.errors import described
from kdarena.files import import_file
from kdarena.tracks import TRACKS
from kdarena.tracks.card import TaskCard

NAME = re.compile(r"[a-z0-9][a-z0-9._:-]{0,79}")
"""Of a task: part of file names and of pages."""


def own_card(settings: Mapping[str, Any]) -> TaskCard:
    """The card of a task; its digest holds the code of the function's file, or of the whole package that it is in.

    Args:
        settings: ``task_from``: the function.

    Raises:
        ValueError: in one line: there is no such function, or it gives no card.
    """
    return _card(settings["task_from"])


@functools.cache
def _card(named: str) -> TaskCard:
    """Made once in a process, so that its code is that which was imported."""
    module_name, separator, function_name = named.rpartition(":")
    if not separator or not module_name or not function_name:
        raise ValueError(f"--task-from {named!r}: write MODULE:FUNCTION or FILE.py:FUNCTION, as my_task.py:card")
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what it prints is not the command's output
            module = _module(module_name)
            code = _digest_of_code(module)
            function: Any = functools.reduce(getattr, function_name.split("."), cast(Any, module))
            card = function()
    except (Exception, SystemExit) as error:
        raise ValueError(f"--task-from {named}: {described(error)}{_place(error, module_name)}; put that right, or name another function") from error
    if not isinstance(card, TaskCard):
        raise ValueError(f"--task-from {named}: gives {type(card).__name__} and no kdarena.TaskCard; return the card of the task")
    _check(named, card)
    data = card.digest
    return replace(card, digest=lambda data_root: hashlib.sha256(f"{data(data_root)}\0{code}".encode()).hexdigest()[:16])


def _check(named: str, card: TaskCard) -> None:
    """Raise ``ValueError`` where a card can't be that of a task."""
    if not isinstance(card.name, str) or not NAME.fullmatch(card.name):
        raise ValueError(
            f"--task-from {named}: the task's name {card.name!r:.100} has to be of lower-case letters, digits, dots, colons and hyphens, at most 80"
        )
    if card.track not in TRACKS:
        raise ValueError(f"--task-from {named}: unknown track {card.track!r:.100}; use one of {', '.join(TRACKS)}, which says which methods apply")
    if not all(callable(function) for function in (card.missing, card.digest, card.load, card.check)):
        raise ValueError(f"--task-from {named}: missing, digest, load and check of the card have to be functions")


def _module(name: str) -> ModuleType:
    """The module, of a file under a name that no import statement can mean."""
    if not name.endswith(".py"):
        return importlib.import_module(name)
    path = Path(name).resolve()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    return import_file(path, f"kdarena task file {hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}")


def _digest_of_code(module: ModuleType) -> str:
    """Of the module's file; of a package, of all its Python files."""
    file = Path(module.__file__ or "")
    top = module.__name__.partition(".")[0]
    folder = getattr(sys.modules.get(top), "__path__", None) if " " not in top else None
    files = sorted(Path(folder[0]).rglob("*.py")) if folder else [file]
    digest = hashlib.sha256()
    for path in files:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _place(error: BaseException, file: str) -> str:
    """The last line of the user's own file that an exception came through."""
    place, trace = "", error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).name == Path(file).name:
            place = f" ({trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return place
