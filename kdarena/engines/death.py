"""What a worker that ended during a job died of."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

from kdarena.plan.spec import Status

FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""Signals by which somebody, or the system, ends a process; the others are its own faults."""


def status_of_exit(code: int, *, silent: float | None = None, memory_ran_out: bool = False) -> tuple[Status, str]:
    """Status of a job and one line on what happened, for a worker that ended with an exit code during it.

    Args:
        code: as ``subprocess`` gives it: negative for a signal.
        silent: seconds without a sign of life after which the engine killed it, or None where it did not.
        memory_ran_out: whether the system killed a process for lack of memory meanwhile.
    """
    if silent is not None:
        return "timeout", f"no sign of life for {silent:g} s: an endless loop?"
    if code == -signal.SIGKILL and memory_ran_out:
        return "oom", "the system killed the worker (SIGKILL), since memory ran out"
    if -code in FROM_OUTSIDE:
        name = signal.Signals(-code).name
        return "killed", f"the worker was killed from outside ({name}), and not for lack of memory; the same command tries it again"
    if code < 0:
        return "error", f"the worker died of {_signal(-code)}"
    return "error", f"the worker exited with status {code}"


def killed_for_memory(pid: int, root: Path = Path("/")) -> tuple[Path, int] | None:
    """How many processes the system has killed for lack of memory so far, and the file that says so; None where no file does.

    Of the process's control group, else of the whole machine.
    """
    for file in (*_of_group(pid, root), root / "proc/vmstat"):
        count = count_in(file)
        if count is not None:
            return file, count
    return None


def count_in(file: Path) -> int | None:
    """The number after ``oom_kill`` in a file of the system's; None where there is none."""
    try:
        words = (line.split() for line in file.read_text().splitlines())
        return next((int(line[1]) for line in words if len(line) == 2 and line[0] == "oom_kill"), None)
    except (OSError, ValueError):
        return None


def _of_group(pid: int, root: Path) -> Iterator[Path]:
    """Files that count for a process's control group, or for the nearest around it that has one, of the second or first version."""
    try:
        lines = (root / f"proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return
    mount = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top, name = (mount, "memory.events") if controllers == "" else (mount / "memory", "memory.oom_control")
        folder = top / group.strip("/")
        while folder != top:
            yield folder / name
            folder = folder.parent
        yield top / name


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
