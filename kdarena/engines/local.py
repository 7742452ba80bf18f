"""The local engine: one persistent child process per device, or per core on a CPU.

A segmentation fault, a kill for memory or an endless loop in one method is a status of that run (:func:`status_of_exit`); the worker is
replaced and the arena goes on. What the failure costs: a trial is charged in full (:mod:`kdarena.arena.method_runs`); a final run
leaves its row incomplete, below all complete rows; any run is tried again by the next command, not by this one
(:data:`kdarena.plan.spec.LASTING`).
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdarena.engines.engine import Event, Spec, failed, result_from, to_message
from kdarena.plan.spec import Status

SILENCE_LIMIT = 300.0
"""Seconds without a message after which a job counts as an endless loop. A run reports its progress at least every few steps."""

# Large tensors come from the heap and stay in it, instead of being mapped and unmapped at every step: 1.28 times faster on glibc.
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_TOP_PAD_": str(64 * 2**20)}


@dataclass
class _Worker:
    device: str
    process: subprocess.Popen[bytes]
    buffer: bytearray = field(default_factory=bytearray)
    spec: Spec | None = None
    last_message: float = 0.0
    killed: Status | None = None


class LocalEngine:
    """Workers on this machine.

    Args:
        devices: one entry a worker, as ``["cpu", "cpu"]`` or ``["cuda:0"]``.
        threads: CPU threads of each worker; 0 leaves torch's own number.
        teachers, output: folders of checkpoints.
        log: file that takes what workers and plugins print.
        silence_limit: see :data:`SILENCE_LIMIT`.
    """

    def __init__(
        self,
        *,
        devices: Sequence[str],
        threads: int,
        teachers: Path,
        output: Path,
        log: Path,
        data_root: str | None = None,
        plugin_paths: Sequence[str] = (),
        silence_limit: float = SILENCE_LIMIT,
    ):
        self.capacity = len(devices)
        self._settings = {
            "threads": threads,
            "teachers": str(teachers.resolve()),
            "output": str(output.resolve()),
            "data_root": data_root,
            "plugin_paths": [str(Path(path).resolve()) for path in plugin_paths],
        }
        for folder in (teachers, output, log.parent):
            folder.mkdir(parents=True, exist_ok=True)
        self._log = log.open("ab")
        self._silence_limit = silence_limit
        self._selector = selectors.DefaultSelector()
        self._devices = list(devices)
        self._workers: list[_Worker] = []

    def submit(self, spec: Spec) -> None:
        """Give a job to an idle worker, starting a new one where fewer than ``capacity`` live."""
        idle = next((worker for worker in self._workers if worker.spec is None), None)
        if idle is None:
            if len(self._workers) >= self.capacity:
                raise RuntimeError("no idle worker")
            idle = self._start(self._free_device())
        idle.spec, idle.last_message = spec, time.monotonic()
        assert idle.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # wait() notices a worker that died
            idle.process.stdin.write((json.dumps(to_message(spec)) + "\n").encode())
            idle.process.stdin.flush()

    def wait(self, seconds: float) -> list[Event]:
        """Events within so many seconds; returns as soon as there is one."""
        events: list[Event] = []
        for ready, _ in self._selector.select(seconds):
            events.extend(self._read(ready.data))
        now = time.monotonic()
        for worker in self._workers:
            if worker.spec is not None and worker.killed is None and now - worker.last_message > self._silence_limit:
                worker.killed = "timeout"
                worker.process.kill()
        return events

    def close(self) -> None:
        """Kill all workers."""
        for worker in self._workers:
            worker.process.kill()
            worker.process.wait()
            for pipe in (worker.process.stdin, worker.process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
        self._workers.clear()
        self._selector.close()
        self._log.close()

    def _free_device(self) -> str:
        free = list(self._devices)
        for worker in self._workers:
            free.remove(worker.device)
        return free[0]

    def _start(self, device: str) -> _Worker:
        process = subprocess.Popen(
            [sys.executable, "-m", "kdarena.engines.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=worker_environment(os.environ, self._settings["threads"]),  # type: ignore[arg-type]
            # a Ctrl-C goes to the parent alone, which stops its workers when it has saved what there is
            start_new_session=True,
        )
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write((json.dumps({**self._settings, "device": device}) + "\n").encode())
        process.stdin.flush()
        os.set_blocking(process.stdout.fileno(), False)
        worker = _Worker(device, process, last_message=time.monotonic())
        self._selector.register(process.stdout, selectors.EVENT_READ, worker)
        self._workers.append(worker)
        return worker

    def _read(self, worker: _Worker) -> list[Event]:
        assert worker.process.stdout is not None
        chunk = worker.process.stdout.read()
        if chunk is None:
            return []
        if not chunk:
            return self._remove(worker)
        worker.buffer += chunk
        worker.last_message = time.monotonic()
        events = []
        while (end := worker.buffer.find(b"\n")) >= 0:
            message: dict[str, Any] = json.loads(worker.buffer[:end])
            del worker.buffer[: end + 1]
            if worker.spec is None:
                continue
            if "progress" in message:
                events.append(Event(worker.spec, progress=message["progress"]))
            else:
                events.append(Event(worker.spec, result=result_from(worker.spec, message["result"])))
                worker.spec = None
                if message.get("last"):
                    worker.process.kill()
                    self._remove(worker)
                    break
        return events

    def _remove(self, worker: _Worker) -> list[Event]:
        """A worker whose output closed has ended; what it was doing has failed."""
        assert worker.process.stdout is not None
        self._selector.unregister(worker.process.stdout)
        code = worker.process.wait()
        self._workers.remove(worker)
        if worker.spec is None:
            return []
        status, error = status_of_exit(code, worker.killed, self._silence_limit)
        return [Event(worker.spec, result=failed(worker.spec, status, error))]


def status_of_exit(code: int, killed: Status | None, silence_limit: float) -> tuple[Status, str]:
    """Status of a run and one line on what happened, for a worker that ended with an exit code during it."""
    if killed == "timeout":
        return "timeout", f"no sign of life for {silence_limit:g} s: an endless loop?"
    if code == -signal.SIGKILL:
        return "oom", "the worker was killed (SIGKILL): the system ran out of memory?"
    if code < 0:
        return "error", f"the worker died of {signal.Signals(-code).name}"
    return "error", f"the worker exited with status {code}"


def worker_environment(environment: Mapping[str, str], threads: int) -> dict[str, str]:
    """A worker's environment: the parent's, with thread counts and the allocator's thresholds set before it starts."""
    settings = {**environment, **{name: value for name, value in ALLOCATOR.items() if name not in environment}}
    if threads:
        settings.update({name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")})
    return settings
