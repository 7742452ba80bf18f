"""The record of all runs: a JSON file a run in the output directory, written by the parent process alone.

A run counts once its file is there, which happens at one moment: a process that is killed leaves no half. MLflow is written
from these files and never read (see :mod:`kdarena.record.mlflow`).
"""

from __future__ import annotations

import contextlib
import math
import time
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import IO

from kdarena.errors import Notice, UserError, described
from kdarena.plan.spec import RunResult, RunSpec
from kdarena.record import index, output
from kdarena.record.mlflow import MlflowCopy
from kdarena.record.recorded import Document, RecordedRun, run_of

MLFLOW_EVERY = 60.0
"""Seconds after which a command that goes on writes its runs to MLflow too."""
MLFLOW_SECONDS = 0.5
"""Seconds that it may take then, while workers may be waiting; the rest is written at the end of the command."""


class Record:
    """The runs of one output directory. Use :meth:`open`."""

    def __init__(self, directory: Path, lock: IO[str] | None, mlflow: MlflowCopy, *, untouched: bool = False):
        self.directory = directory
        self._untouched = untouched
        self._lock = lock
        self._mlflow: MlflowCopy | None = mlflow
        self._mlflow_due = time.monotonic() + MLFLOW_EVERY
        self._latest = 0

    @staticmethod
    def open(directory: Path, *, tracking_uri: str | None = None, create: bool = True, untouched: bool = False) -> Record:
        """Open the record of an output directory.

        Args:
            directory: the output directory.
            tracking_uri: another MLflow store to write to; by default what ``MLFLOW_TRACKING_URI`` says, else the directory's own database.
            create: open for writing: make what is missing and keep other writers out. False: only read.
            untouched: where it is only read, do not even complete its index.

        Raises:
            UserError: the directory is missing (without ``create``), of another version, no output directory, or being
                written by another process.
        """
        directory = Path(directory)
        if create:
            output.claim(directory)
        else:
            output.check(directory, restore=not untouched)
        lock = output.lock(directory) if create else None
        directory = directory.resolve()
        if create:
            output.clean(directory)
        return Record(directory, lock, MlflowCopy(directory, tracking_uri), untouched=untouched)

    def close(self) -> None:
        """Write to MLflow what it lacks, and let others write. Reading goes on."""
        if self._lock is not None:
            self._write_mlflow()
        self._unlock()

    def __enter__(self) -> Record:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # who interrupts a command does not wait for MLflow, and a disk that is full takes no copy either
        if kind is None or (issubclass(kind, Exception) and not issubclass(kind, OSError)):
            self.close()
        self._unlock()

    @property
    def checkpoints(self) -> Path:
        """Where engines put the students that they export, and where these stay."""
        return self.directory / "students"

    # ---- writing

    def log(self, spec: RunSpec, result: RunResult, *, setting: str, facts: Mapping[str, str]) -> str:
        """Record a run; returns its id.

        Args:
            spec, result: the run.
            setting: see :class:`RecordedRun`.
            facts: see :class:`RecordedRun`.

        Raises:
            ValueError: ``result.checkpoint`` leads out of :attr:`checkpoints`.
            RuntimeError: the record was opened for reading, or closed.
        """
        if self._lock is None:
            raise RuntimeError(f"the record in {self.directory} isn't open for writing")
        if result.checkpoint:
            _inside(self.checkpoints, result.checkpoint)
        self._latest = max(time.time_ns(), self._latest + 1)
        started = datetime.fromtimestamp(self._latest / 1e9, UTC) - timedelta(seconds=result.spent_s)
        run = RecordedRun(uuid.uuid4().hex, spec.key, spec, result, setting, dict(facts), started)
        index.add(self.directory, Document.of(run, self._latest))
        if time.monotonic() > self._mlflow_due:
            self._write_mlflow(MLFLOW_SECONDS)
        return run.run_id

    def _write_mlflow(self, seconds: float = math.inf) -> None:
        """Write to MLflow what it lacks; where that fails, a line says so and the next command does it."""
        if self._mlflow is None:
            return
        try:
            self._mlflow.write_missing(seconds)
        except Exception as error:
            reason = str(error) if isinstance(error, UserError) else described(error)[:200]
            warnings.warn(
                f"MLflow could not be updated ({reason}); all runs are recorded; the next command tries again, or run: kdarena record mlflow --out {self.directory}",
                category=Notice,
                stacklevel=2,
            )
            self._mlflow = None
        self._mlflow_due = time.monotonic() + MLFLOW_EVERY

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # ---- reading

    def runs(self) -> list[RecordedRun]:
        """All runs, in the order in which they were recorded.

        A file that can't be read is named in a warning and left out. One that is not whole is put aside where the record is open
        for writing, so that it is named once.
        """
        runs, unreadable = index.read(self.directory, complete=not self._untouched)
        for file in unreadable:
            warnings.warn(f"{file.path}: left out, since it can't be read ({file.reason}); {self._remedy(file)}", category=Notice, stacklevel=2)
        return runs

    def _remedy(self, file: index.Unreadable) -> str:
        if not file.broken:
            return "restore it, or delete it and repeat the command to train that run again"
        aside = file.path.with_name(f"{file.path.name}.broken")
        if self._lock is not None:
            with contextlib.suppress(OSError):
                file.path.replace(aside)
                return f"it is now {aside.name}, and the command that made it trains that run again"
        return "repeat the command that made it: it trains that run again"

    def find(self, run_id_or_prefix: str) -> RecordedRun:
        """The one run whose id begins so, or whose key does.

        Raises:
            UserError: there is none, or more than one, or its file can't be read.
        """
        wanted = run_id_or_prefix.strip()
        matching = [run_id for run_id in index.run_ids(self.directory) if wanted and run_id.startswith(wanted)]
        if len(matching) > 1 and wanted not in matching:
            shown = ", ".join(run_id[: len(wanted) + 6] for run_id in matching[:3])
            raise UserError(f"{wanted!r} is the beginning of {len(matching)} runs ({shown} …); give more of its id")
        if not matching and wanted:
            matching = list(dict.fromkeys(run.run_id for run in self.runs() if run.spec.key.startswith(wanted)))
            if len(matching) > 1:
                raise UserError(f"{wanted!r} is the beginning of the keys of {len(matching)} runs; give the id of one, or more of its key: kdarena runs --json")
        run = self._load(matching[0] if len(matching) == 1 else wanted)
        return replace(run, result=replace(run.result, curves={}))

    def checkpoint(self, run_id: str) -> Path:
        """The network that a run trained: the student, or for a run of purpose ``teacher`` the teacher.

        Raises:
            UserError: there is no such run, or it has none; the line says why.
        """
        run = self._load(run_id)
        # a teacher lies where all runs of the directory find it
        path = _inside(self.checkpoints, run.result.checkpoint) if run.result.checkpoint else None
        if run.spec.purpose == "teacher":
            path = self.directory / "teachers" / f"{run.result.weights or run.key}.safetensors"
        if path is not None and path.is_file():
            return path
        reason = f": {run.result.error[:200]}" if run.result.error else ""
        raise UserError(f"run {run_id} ({run.spec.method}, {run.result.status}{reason}) left no checkpoint; choose one that is done: kdarena runs")

    def curves(self, run_id: str) -> dict[str, list[tuple[int, float]]]:
        """The curves of a run, each a list of (step, value), exactly as trained.

        Raises:
            UserError: there is no such run.
        """
        return dict(self._load(run_id).result.curves)

    def _load(self, run_id: str) -> RecordedRun:
        """A run with its curves."""
        path = index.file_of(self.directory, output.safe_name(run_id))
        try:
            return run_of(index.load(self.directory, path.stem).run)
        except FileNotFoundError as error:
            raise UserError(f"no run {run_id!r} in {self.directory}; see: kdarena runs --out {self.directory}") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            file = index.Unreadable(path, described(error), isinstance(error, ValueError))
            raise UserError(f"{path}: can't be read ({file.reason}); {self._remedy(file)}") from error


def _inside(folder: Path, name: str) -> Path:
    """The file ``name`` in ``folder``, wherever a link in it may point."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"checkpoint {name!r} leads out of {folder}")
    return path
