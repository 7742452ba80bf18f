"""What a hook leaves at work when it returns: threads and processes, whose time nobody would pay for."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kdarena.tracks.ahead import THREAD

PATIENCE = 0.1
"""Seconds in which a thread that is about to end may do so."""
LOADER = "_pin_memory_loop"
"""Part of the name of a thread of torch's data loader."""
COMPILER = "torch._inductor."
"""Begins the name of each module of torch's compiler, whose threads and processes wait for the next network that is compiled."""
COMPILING = str(Path("torch", "_inductor", "compile_worker"))
"""In the command line of each of its processes."""


class LeftRunning:
    """Compares with the threads and processes that were at work when this was made."""

    def __init__(self) -> None:
        self._threads = frozenset(threading.enumerate())
        self._children = frozenset(running_children())

    def new(self) -> list[str]:
        """Those that are at work now and were not, a few words each."""
        threads = [f"thread {thread.name!r}" for thread in new_threads(self._threads)]
        return threads + [child for child in running_children() if child not in self._children]

    @contextmanager
    def ignored(self) -> Iterator[None]:
        """What begins within it is not compared."""
        threads, children = frozenset(threading.enumerate()), frozenset(running_children())
        try:
            yield
        finally:
            self._threads |= frozenset(threading.enumerate()) - threads
            self._children |= frozenset(running_children()) - children


def new_threads(known: frozenset[threading.Thread]) -> list[threading.Thread]:
    """Threads of Python that are none of those, other than a loader's and torch's own."""
    if known.issuperset(threading.enumerate()):  # the usual answer
        return []
    new = [thread for thread in threading.enumerate() if thread not in known and not _is_of_torch(thread)]
    for thread in new:
        thread.join(PATIENCE)
    return [thread for thread in new if thread.is_alive()]


def _is_of_torch(thread: threading.Thread) -> bool:
    # a thread that torch started itself, as for a backward pass, is a dummy
    if thread.name == THREAD or LOADER in thread.name or isinstance(thread, threading._DummyThread):
        return True
    target = getattr(thread, "_target", None)  # gone where the thread has ended
    return (getattr(target, "__module__", None) or "").startswith(COMPILER)


def running_children() -> list[str]:
    """The processes that this one, or one of its children, started and that are still at work, other than torch's compiler's; a few words each."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # the usual answer, at a thousandth of the price of a list of all processes
        return []
    import psutil

    running = []
    for child in psutil.Process().children(recursive=True):
        try:
            if child.status() != psutil.STATUS_ZOMBIE and not any(COMPILING in part for part in child.cmdline()):
                running.append(f"process {child.pid} ({child.name()})")
        except psutil.NoSuchProcess:  # a zombie too, where its command line is asked for
            continue
    return running
