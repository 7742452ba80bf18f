"""``kdarena ui``: MLflow's own server over what it has of the record, bound to localhost, which ends with the command."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdarena.errors import UserError

HOST = "127.0.0.1"
PATIENCE = 5.0
"""Seconds that the server has to end by itself."""


def ui(out: Path, port: int) -> int:
    """Serve until the server ends or is ended; what MLflow lacks is written first. Returns the exit status.

    Raises:
        UserError: there is no record, or the port is taken.
    """
    from kdarena.record import output
    from kdarena.record.mlflow import MlflowCopy
    from kdarena.record.runs import Record

    output.check(out)
    copy = MlflowCopy(out.resolve())
    if copy.uri.startswith("http"):
        print(f"MLFLOW_TRACKING_URI says that the runs are written to the server {copy.uri}; its page is there", file=sys.stderr)
        return 0
    check_port(port)
    with contextlib.suppress(UserError):  # a command that is at work writes them itself
        Record.open(out).close()
    print(f"http://{HOST}:{port} (Ctrl-C ends it)", file=sys.stderr)
    return serve(["server", "--backend-store-uri", copy.uri, "--host", HOST, "--port", str(port)])


def check_port(port: int) -> None:
    """Raises ``UserError`` where nobody can listen on a port now."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that ended just now does not count
        try:
            listener.bind((HOST, port))
            listener.listen()
        except OSError as error:
            raise UserError(f"--port {port}: is not free on {HOST} ({error.strerror}); choose another") from error


def serve(arguments: Sequence[str]) -> int:
    """Run MLflow with arguments until it ends, or until this process is asked to end, and leave none of its processes; its exit status."""
    # a process group of its own, so that all of its processes can be ended together; it ends itself where this pipe closes
    command = [sys.executable, "-m", "kdarena.cli.mlflow_process", *arguments]
    for asked in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(asked, _interrupt)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        return process.wait()
    except KeyboardInterrupt:
        return 0  # this is how it is ended
    finally:
        for asked in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(asked, signal.SIG_IGN)
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all of its group."""
    _signal_group(process, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE)
    _signal_group(process, signal.SIGKILL)
    process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # all have ended
        os.killpg(process.pid, number)


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt
