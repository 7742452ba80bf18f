"""How a command that trains ends: failures are named, and an interruption is no error."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

INTERRUPTED = 130


def interruptible(command: Callable[[], Sequence[str]]) -> int:
    """Do a command's work, which gives a line for each failure, and name those on standard error; returns the exit status."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        failures = command()
    except KeyboardInterrupt:
        print("kdarena: interrupted; what is done is kept, the same command goes on", file=sys.stderr)
        return INTERRUPTED
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt
