"""The process in which a plugin is checked, so that whatever it does to its process is a finding and nothing worse."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from kdarena.collector import leave_out_all
from kdarena.method.origin import Origin
from kdarena.testing.finding import Finding

SILENCE = 180.0
"""Seconds without a finding after which a check is ended."""

START = (
    "import gc, json, sys; gc.disable(); request = json.loads(sys.stdin.readline()); sys.path[:] = request['path']; "
    "from kdarena.testing.check_process import main; main(request)"
)
ALONE = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def checked(origin: Origin, method: str, silence: float = SILENCE) -> Iterator[Finding]:
    """The findings of one method of a plugin, as they come; how its process ended, where that was before the last of them.

    Args:
        method: its name.
        silence: seconds without a finding that are waited.
    """
    request = {"path": sys.path, "origin": asdict(origin), "method": method}
    process = subprocess.Popen(
        [sys.executable, "-c", START], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **ALONE}, start_new_session=True
    )
    assert process.stdin is not None and process.stdout is not None
    last, done = "its start", False
    try:
        process.stdin.write((json.dumps(request) + "\n").encode())
        process.stdin.flush()
        for line in _lines(process.stdout.fileno(), silence):
            if line is None:
                yield Finding("process", "failed", f"nothing came for {silence:g} s after {last}: a loop without an end?")
                return
            values = json.loads(line)
            if values is None:
                done = True
                break
            finding = Finding(**values)
            last = f"the check of {finding.check!r}"
            yield finding
        if not done:
            yield Finding("process", "failed", f"it ended its process ({_ended(process)}) after {last}")
    finally:
        _end(process)


def main(request: Mapping[str, Any]) -> None:
    """In the process: check, and answer one line a finding, and a last one; what a plugin prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    warnings.filterwarnings("ignore", module=r"torch(\.|$)")  # of the library's own about itself, not of the plugin
    from kdarena.method.check import plugins_of
    from kdarena.method.origin import load
    from kdarena.testing.check import findings

    leave_out_all()
    plugins = plugins_of(load(Origin(**request["origin"])), Origin(**request["origin"]))
    (plugin,) = [plugin for plugin in plugins if plugin.name == request["method"]]
    for finding in findings(plugin.implementation):
        answers.write(json.dumps(asdict(finding)) + "\n")
    answers.write("null\n")
    answers.flush()
    os._exit(0)  # threads that a plugin has left are not waited for


def _lines(descriptor: int, silence: float) -> Iterator[bytes | None]:
    """Lines as they come; None where none came for so long."""
    text = b""
    while True:
        ready, _, _ = select.select([descriptor], [], [], silence)
        if not ready:
            yield None
            return
        chunk = os.read(descriptor, 65536)
        if not chunk:
            return
        *lines, text = (text + chunk).split(b"\n")
        yield from lines


def _ended(process: subprocess.Popen[bytes]) -> str:
    try:
        code = process.wait(5.0)
    except subprocess.TimeoutExpired:
        return "it closed its answers"
    return f"died of {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it and what it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
