"""The local engine: one persistent child process per device, or per core on a CPU.

A segmentation fault, a kill for memory or an endless loop in one method is a status of that run
(:func:`kdarena.engines.death.status_of_exit`); the worker is replaced and the arena goes on. So it is after a run that has left its
worker's state changed (:mod:`kdarena.engines.state`), and after an answer that is not the job's own. All processes that a run started
end with its worker. What a failure costs: a trial is charged in full (:mod:`kdarena.arena.method_runs`); a final run
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

from kdarena.engines.death import count_in, killed_for_memory, status_of_exit
from kdarena.engines.descendants import kill_descendants
from kdarena.engines.engine import Event, Spec, answer_from, failed, to_message
from kdarena.plan.spec import Status
from kdarena.tracks.own import OwnTask

SILENCE_LIMIT = 300.0
"""Seconds without a message after which a job counts as an endless loop. A run reports its progress at least every few steps."""

# Large tensors come from the heap and stay in it, instead of being mapped and unmapped at every step: 1.28 times faster on glibc.
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_TOP_PAD_": str(64 * 2**20)}

START = "import json, sys; settings = json.loads(sys.stdin.readline()); sys.path[:] = settings['path']; from kdarena.engines.worker import main; main(settings)"
"""What a worker's process runs; it finds modules where this one does, whatever the current folder has."""

STOP_LIMIT = 5.0
"""Seconds that a worker whose output is closed has to end by itself."""


@dataclass
class _Worker:
    """A worker's process, and the jobs that it has.

    Attributes:
        jobs: those without a result, by their keys.
        several: whether they were submitted to train side by side.
        memory: what :func:`kdarena.engines.death.killed_for_memory` said when they were submitted.
        silent: whether it was killed since it gave no sign of life.
    """

    device: str
    process: subprocess.Popen[bytes]
    buffer: bytearray = field(default_factory=bytearray)
    jobs: dict[str, Spec] = field(default_factory=dict)
    several: bool = False
    last_message: float = 0.0
    memory: tuple[Path, int] | None = None
    silent: bool = False

    def stop(self) -> int:
        """Kill the worker, what it has started and all processes of its group; returns its exit code."""
        kill_descendants(self.process.pid)  # a child with a session of its own is in no group of the worker's
        # also where the worker itself has ended: a group keeps its number as long as one of its processes lives
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        code = self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        return code


class LocalEngine:
    """Workers on this machine.

    Args:
        devices: one entry a worker, as ``["cpu", "cpu"]`` or ``["cuda:0"]``.
        threads: CPU threads of each worker; 0 leaves torch's own number.
        teachers, output: folders of checkpoints.
        log: file that takes what workers and plugins print.
        cache: folder that takes what torch compiles for a GPU; None: torch's own.
        own: tasks that the user brings.
        made_up: whether tasks are loaded over made-up data, where what is asked for depends on shapes alone.
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
        own: Sequence[OwnTask] = (),
        plugin_paths: Sequence[str] = (),
        cache: Path | None = None,
        made_up: bool = False,
        silence_limit: float = SILENCE_LIMIT,
    ):
        self.capacity = len(devices)
        self._settings = {
            "threads": threads,
            "teachers": str(teachers.resolve()),
            "output": str(output.resolve()),
            "data_root": data_root,
            "own": [task.plain() for task in own],
            "plugin_paths": [str(Path(path).resolve()) for path in plugin_paths],
            "made_up": made_up,
        }
        for folder in (teachers, output, log.parent):
            folder.mkdir(parents=True, exist_ok=True)
        self._log = log.open("ab")
        self._cache = cache
        self._silence_limit = silence_limit
        self._selector = selectors.DefaultSelector()
        self._devices = list(devices)
        self._workers: list[_Worker] = []

    def submit(self, *specs: Spec) -> None:
        """Give a job, or runs of one task to train side by side, to an idle worker, starting a new one where fewer than ``capacity`` live."""
        for dead in [worker for worker in self._workers if not worker.jobs and worker.process.poll() is not None]:
            self._remove(dead)
        idle = next((worker for worker in self._workers if not worker.jobs), None)
        if idle is None:
            if len(self._workers) >= self.capacity:
                raise RuntimeError("no idle worker")
            idle = self._start(self._free_device())
        idle.jobs, idle.several = {spec.key: spec for spec in specs}, len(specs) > 1
        idle.last_message, idle.memory = time.monotonic(), killed_for_memory(idle.process.pid)
        assert idle.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # wait() notices a worker that died
            idle.process.stdin.write((json.dumps([to_message(spec) for spec in specs]) + "\n").encode())
            idle.process.stdin.flush()

    def wait(self, seconds: float) -> list[Event]:
        """Events within so many seconds; returns as soon as there is one."""
        events: list[Event] = []
        for ready, _ in self._selector.select(seconds):
            events.extend(self._read(ready.data))
        # one whose output a process that it started holds open: there is no end of it to read
        for dead in [worker for worker in self._workers if worker.process.poll() is not None]:
            events.extend(self._read(dead))
            if dead in self._workers:
                events.extend(self._remove(dead))
        now = time.monotonic()
        for worker in self._workers:
            if worker.jobs and not worker.silent and now - worker.last_message > self._silence_limit:
                worker.silent = True
                kill_descendants(worker.process.pid)  # as long as they can be told from others
                worker.process.kill()
        return events

    def close(self) -> None:
        """Kill all workers, with all processes that they started."""
        for worker in self._workers:
            worker.stop()
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
            [sys.executable, "-c", START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=worker_environment(os.environ, self._settings["threads"], self._cache if device.startswith("cuda") else None),  # type: ignore[arg-type]
            # a Ctrl-C goes to the parent alone, which stops its workers when it has saved what there is
            start_new_session=True,
        )
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write((json.dumps({**self._settings, "device": device, "path": sys.path}) + "\n").encode())
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
        while worker in self._workers and (end := worker.buffer.find(b"\n")) >= 0:
            line = bytes(worker.buffer[:end])
            del worker.buffer[: end + 1]
            events.extend(self._answered(worker, line))
        return events

    def _answered(self, worker: _Worker, line: bytes) -> list[Event]:
        """What a line of a worker says; a worker whose line is not an answer to one of its jobs is not trusted with another."""
        if not worker.jobs:
            self._drop(worker)
            return []
        try:
            events, last = answer_from(worker.jobs, line)
            if not worker.several and any(event.again is not None for event in events):
                raise ValueError("a run that was alone asks to be run again alone")
        except ValueError as error:
            self._drop(worker)
            problem = f"the worker's answer was dropped: {error}; does the plugin start processes, or write where it has not opened a file?"
            return _lost(worker, "error", problem)
        for event in events:
            if event.result is not None or event.again is not None:
                del worker.jobs[event.spec.key]
        if last:
            self._drop(worker)
        return events

    def _drop(self, worker: _Worker) -> int:
        """End a worker; returns its exit code."""
        assert worker.process.stdout is not None
        self._selector.unregister(worker.process.stdout)
        self._workers.remove(worker)
        return worker.stop()

    def _remove(self, worker: _Worker) -> list[Event]:
        """A worker whose output closed has ended, or is about to; what it was doing has failed."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(STOP_LIMIT)
        hung = worker.process.poll() is None
        code = self._drop(worker)
        if hung:
            return _lost(worker, "error", "the worker closed its output and did not end")
        ran_out = worker.memory is not None and (count_in(worker.memory[0]) or 0) > worker.memory[1]
        status, error = status_of_exit(code, silent=self._silence_limit if worker.silent else None, memory_ran_out=ran_out)
        return _lost(worker, status, error)


def _lost(worker: _Worker, status: Status, error: str) -> list[Event]:
    """What becomes of the jobs of a worker that can't go on. Of several runs any may have been the reason: each is run again, alone, and the one that
    was the reason fails there."""
    if worker.several:
        return [Event(spec, again=error) for spec in worker.jobs.values()]
    return [Event(spec, result=failed(spec, status, error)) for spec in worker.jobs.values()]


def worker_environment(environment: Mapping[str, str], threads: int, cache: Path | None = None) -> dict[str, str]:
    """A worker's environment: the parent's, with thread counts, the allocator's thresholds and the cache of compiled code set before it starts."""
    settings = {**environment, **{name: value for name, value in ALLOCATOR.items() if name not in environment}}
    if threads:
        settings.update({name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")})
    if cache is not None:
        # its processes that compile ahead would be left running by a run
        settings |= {"TORCHINDUCTOR_CACHE_DIR": str(cache.resolve()), "TRITON_CACHE_DIR": str(cache.resolve() / "triton"), "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    return settings
