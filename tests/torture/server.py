"""Commands of kdarena in processes that have imported it already: a fork takes milliseconds, a new interpreter seconds.

Run as a script it reads one command a line from standard input (arguments, folder, file for its output, environment) and answers with the
process id of the command that it started. Each command has a session of its own and ends as any process does.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

READY = "ready"


def serve() -> None:
    """Start commands until standard input closes."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow.tracking
    import optuna
    import pandas  # noqa: F401
    import torch  # noqa: F401

    import kdarena.arena.arena
    import kdarena.arena.trials
    import kdarena.board.leaderboard
    import kdarena.cli.app
    import kdarena.cli.run_command
    import kdarena.engines.local
    import kdarena.record.mlflow  # noqa: F401

    assert mlflow.tracking and optuna
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    print(READY, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if "wait" in asked:
            print(json.dumps(_status(asked["wait"], asked["seconds"])), flush=True)
            continue
        process = os.fork()
        if process == 0:
            _command(asked)
        print(json.dumps(process), flush=True)


def _command(asked: dict[str, Any]) -> None:
    """The forked child: the command line as the entry point runs it."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    output = os.open(asked["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, source in ((0, nothing), (1, output), (2, output)):
        os.dup2(source, descriptor)
    os.chdir(asked["folder"])
    os.environ.update(asked["environment"])
    sys.argv = ["kdarena", *asked["arguments"]]
    code: Any = 1
    try:
        from kdarena.cli import main

        main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _status(process: int, seconds: float) -> int | None:
    """Exit status of a child within so many seconds, negative for a signal; None where it goes on."""
    end = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            return None
        time.sleep(0.01)


class Server:
    """The other end: starts commands and waits for them."""

    def __init__(self, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}, start_new_session=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == READY

    def start(self, arguments: Sequence[str], folder: Path, output: Path, **environment: str) -> int:
        """Start a command; returns its process id, which is its process group too."""
        return int(self._ask({"arguments": list(map(str, arguments)), "folder": str(folder), "output": str(output), "environment": environment}))

    def wait(self, process: int, seconds: float) -> int | None:
        """Exit status within so many seconds, or None."""
        status: int | None = self._ask({"wait": process, "seconds": seconds})
        return status

    def run(self, arguments: Sequence[str], folder: Path, output: Path, seconds: float = 300.0, **environment: str) -> int:
        """Start a command and wait for its end."""
        process = self.start(arguments, folder, output, **environment)
        status = self.wait(process, seconds)
        if status is None:
            os.killpg(process, signal.SIGKILL)
            raise AssertionError(f"{' '.join(map(str, arguments))} did not end within {seconds:g} s")
        return status

    def close(self) -> None:
        """End it; commands that it started go on."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _ask(self, question: dict[str, Any]) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


if __name__ == "__main__":
    serve()
