"""The process that imports plugins first: each in a fork of its own, with a time limit, before any other process imports it.

It reads a request and answers on its standard output, one line a plugin, after one that says that it is ready. Whatever a plugin prints
goes to standard error. When its standard input closes, the parent is gone or wants no more, and it ends with all that it has started.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import kdarena
from kdarena.collector import leave_out_all
from kdarena.method.check import plugins_of
from kdarena.method.further import OBSERVERS, further_of, tasks_of
from kdarena.method.modules import ELSEWHERE, HARNESS, Modules
from kdarena.method.origin import Origin, load
from kdarena.method.reasons import reason
from kdarena.method.source import source_of

PAUSE = 0.01
"""Seconds between two looks at the plugin under way."""


def main(request: Mapping[str, Any]) -> None:
    """Answer a request: its origins, each with the seconds that it may take (``limit``) and those after which it is named (``notice``)."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    parent = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)
    for name in kdarena.FOR_PLUGINS:  # what any plugin may import is no finding about one
        getattr(kdarena, name)
    for name in ("losses", "schedules"):
        importlib.import_module(f"{HARNESS}.{name}")
    leave_out_all()
    answers.write(json.dumps({"ready": True}) + "\n")
    for values in request["origins"]:
        origin = Origin(**values)
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            for other in (answers.fileno(), parent, ours):
                os.close(other)
            _answer(origin, theirs)
        os.close(theirs)
        answers.write(json.dumps(_watch(origin, child, ours, parent, request["limit"], request["notice"])) + "\n")
        os.close(ours)


def _answer(origin: Origin, to: int) -> NoReturn:
    """In the fork: import the plugin, say what came of it, and end."""
    own = os.getpid()
    os.setpgid(0, 0)
    answer: dict[str, Any] = {"methods": [], "error": None, "modules": [], "raised": False, "observes": False, "tasks": []}
    try:
        static = source_of(origin, Modules())
        before = set(sys.modules)
        loaded = load(origin)
        plugins = plugins_of(loaded, origin)
        answer["methods"] = [plugin.name for plugin in plugins if plugin.error is None]
        if inspect.ismodule(loaded) and all(plugin.error is None for plugin in plugins):
            answer["observes"] = not further_of(loaded).keys().isdisjoint(OBSERVERS)
            answer["tasks"] = tasks_of(loaded, origin)
        answer["modules"] = _loaded(before, static.files, static.distributions)
    except BaseException as error:  # also SystemExit and KeyboardInterrupt: whatever a plugin raises is said of the plugin
        answer |= {"error": reason(error, origin.target if origin.is_file else ""), "raised": True}
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        if os.getpid() == own:  # a plugin may have forked
            with contextlib.suppress(OSError), os.fdopen(to, "wb") as pipe:
                pipe.write(json.dumps(answer).encode())
        os._exit(0)


def _loaded(before: set[str], files: Mapping[str, Path], distributions: frozenset[str]) -> list[tuple[str, str]]:
    """Modules that were loaded and that the plugin's text does not show: its own, and one of each distribution."""
    modules, named, loaded = Modules(), set(distributions), []
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        top = name.partition(".")[0]
        if name in before or not isinstance(file, str) or top in sys.stdlib_module_names or top in ELSEWHERE or " " in name:
            continue
        owner = modules.distribution(Path(file))
        if owner in named or files.get(name) == Path(file):
            continue
        named.update([owner] if owner else [])
        loaded.append((name, os.path.abspath(file)))
    return loaded


def _watch(origin: Origin, child: int, answers: int, parent: int, limit: float, notice: float) -> dict[str, Any]:
    """What the fork that imports a plugin answers, or how it ended without one."""
    started, noticed, watched, text = time.monotonic(), False, [answers, parent], b""
    status = None
    while status is None:
        ready, _, _ = select.select(watched, [], [], PAUSE)
        if parent in ready:
            _end(child)
            os._exit(0)
        if answers in ready:
            chunk = os.read(answers, 65536)
            text += chunk
            if not chunk:
                watched.remove(answers)
        ended, code = os.waitpid(child, os.WNOHANG)
        status = code if ended else None
        seconds = time.monotonic() - started
        if status is None and seconds > limit:
            _end(child)
            return _death(f"its import took longer than {limit:g} s")
        if seconds > notice and not noticed:
            noticed = True
            print(f"kdarena: importing plugin {origin.name} ({origin.distribution or origin.target}), for {limit:g} s at most", file=sys.stderr, flush=True)
    os.set_blocking(answers, False)
    with contextlib.suppress(BlockingIOError):  # a process that the plugin left behind may hold the other end
        while chunk := os.read(answers, 65536):
            text += chunk
    _end(child, reaped=True)
    with contextlib.suppress(ValueError):
        answer: dict[str, Any] = json.loads(text)
        return answer
    code = os.waitstatus_to_exitcode(status)
    return _death(f"its import died of {signal.Signals(-code).name}" if code < 0 else f"its import ended the process with exit status {code}")


def _death(error: str) -> dict[str, Any]:
    return {"methods": [], "error": error, "modules": [], "raised": False, "observes": False, "tasks": []}


def _end(child: int, *, reaped: bool = False) -> None:
    """End a fork and what it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    if not reaped:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)  # where it has not yet made its group
        os.waitpid(child, 0)
