"""A worker: a persistent child process that executes one job after another on one device.

It is given its settings, and then reads lines from standard input: a list of one job, or of several runs that train side by side. It answers on the
descriptor that was its standard output (``last`` where it can't take another job); whatever a plugin prints goes to standard error, so that it can't spoil
an answer. When its standard input closes, the parent is gone, and it ends at once with all processes of its group
and all that it has started.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdarena.collector import leave_out_all
from kdarena.engines.descendants import kill_descendants

USED_BY_PLUGINS = ("kdarena.losses", "kdarena.schedules")
"""Modules that only plugins import: loaded before the state is looked at, so that what is changed in them is seen."""


class Answers:
    """Where a worker answers. A process that a plugin forked off and that gets here would answer in the worker's name: it ends."""

    def __init__(self, descriptor: int):
        self._file = os.fdopen(descriptor, "w", buffering=1)
        self._pid = os.getpid()

    def send(self, message: Mapping[str, Any]) -> None:
        """Write a line, if this is the process that began."""
        if os.getpid() != self._pid:
            os._exit(1)
        self._file.write(json.dumps(message) + "\n")
        self._file.flush()


def main(settings: Mapping[str, Any]) -> None:
    """Serve jobs until standard input closes; the settings are those of :class:`kdarena.engines.local.LocalEngine`."""
    gc.disable()  # until a task is loaded
    answers = Answers(os.dup(1))
    os.dup2(2, 1)
    jobs: queue.Queue[list[dict[str, Any]]] = queue.Queue()
    threading.Thread(target=_read, args=(jobs,), daemon=True).start()

    import torch

    from kdarena.engines.carried_out import answers_to
    from kdarena.engines.engine import spec_from
    from kdarena.engines.loaded import LoadedCode
    from kdarena.engines.state import State
    from kdarena.execute.workspace import Workspace
    from kdarena.tracks.own import from_plain

    if settings["device"].startswith("cuda"):
        torch.cuda.set_device(settings["device"])
    if settings["threads"]:
        torch.set_num_threads(settings["threads"])
    for name in USED_BY_PLUGINS:
        importlib.import_module(name)
    state, code = State(), LoadedCode()

    def notes(method: str) -> tuple[str, ...]:
        """What the row of the method's run says of the code that it has loaded."""
        return code.notes(method, workspace.plugin_files)

    def loaded() -> None:
        leave_out_all()
        state.take()  # loading a task imports libraries, and what those change is no plugin's doing

    def turned(method: str) -> list[str]:
        notes(method)  # now, while it is known whose code it is
        return state.changes()

    workspace = Workspace(
        teachers=Path(settings["teachers"]),
        output=Path(settings["output"]),
        data_root=settings["data_root"],
        own=tuple(map(from_plain, settings["own"])),
        plugin_paths=settings["plugin_paths"],
        made_up=settings["made_up"],
        device=settings["device"],
        report=lambda key, progress: answers.send({"progress": progress, "key": key}),
        loaded=loaded,
        replaced=state.replaced,
        turned=turned,
    )
    last = False
    while not last:
        for message in answers_to([spec_from(job) for job in jobs.get()], workspace, notes, state.changes):
            last = bool(message.get("last"))
            if last:  # once this process has ended, nobody can tell what it has started
                kill_descendants(os.getpid())
            answers.send(message)


def _read(jobs: queue.Queue[list[dict[str, Any]]]) -> None:
    for line in sys.stdin:
        jobs.put(json.loads(line))
    kill_descendants(os.getpid())
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(0)
