"""The processes that a worker has started, and how they end with it."""

from __future__ import annotations

import contextlib

import psutil


def kill_descendants(pid: int) -> None:
    """Kill all processes that a process has started, and those that they have, also in groups and sessions of their own; not itself."""
    try:
        started = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return
    for process in started:
        with contextlib.suppress(psutil.Error):
            process.kill()
