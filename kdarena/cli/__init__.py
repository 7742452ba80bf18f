"""The command line. Heavy imports happen inside the commands, so that ``kdarena --help`` answers at once."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

from kdarena.collector import collect_seldom

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""Errors of writing. Our own files are named by theirs (:mod:`kdarena.files`), so that one without a name is of standard output."""


def main() -> None:
    """Entry point: one line and status 2 for what can't be carried out."""
    collect_seldom()
    if not sys.stdout.isatty():
        os.environ.setdefault("NO_COLOR", "1")
    for stream in (sys.stdout, sys.stderr):
        # a character that the locale lacks is no reason to end
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")
    from kdarena.cli.app import app
    from kdarena.errors import Notice, UserError

    warnings.filterwarnings("always", category=Notice)  # also where PYTHONWARNINGS says otherwise
    warnings.showwarning = _each_once()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # here, where it can be said that it failed, and not at the very end
    except UserError as error:
        _say(str(error))
        sys.exit(2)
    except BrokenPipeError:
        # the reader of our output went away (as `| head` does): nothing to say, and nothing more to flush
        _forget_output()
    except OSError as error:
        line = _what_happened(error)
        if line is None:
            raise
        _say(line)
        sys.exit(2)


def _what_happened(error: OSError) -> str | None:
    """An error of the system in one line; None where it names no file and may be one of the program."""
    if error.filename is not None and error.errno is not None:
        return f"{os.fsdecode(error.filename)}: {os.strerror(error.errno)}; what was recorded before is kept; repeat the command when that is put right"
    if error.errno in FULL:
        _forget_output()
        return f"standard output can't be written: {os.strerror(error.errno)}; what was recorded is kept"
    return None


def _each_once() -> Callable[..., None]:
    """Shows a warning as one line for the user, without the place in the code, and no line twice."""
    said: set[str] = set()

    def show(message: Warning | str, *place: Any) -> None:
        if str(message) not in said:
            said.add(str(message))
            _say(str(message))

    return show


def _forget_output() -> None:
    """Let what standard output still holds go nowhere."""
    with contextlib.suppress(OSError, ValueError):  # a stream of a test has no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(text: str) -> None:
    """One line on standard error, as far as that can be written."""
    with contextlib.suppress(OSError):
        print(f"kdarena: {' '.join(text.splitlines())}", file=sys.stderr, flush=True)
