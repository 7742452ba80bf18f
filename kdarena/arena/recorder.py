"""The ledger: what is recorded, what failed, and the one place from which runs are handed to the engine and recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from kdarena.arena import scheduler
from kdarena.arena.scheduler import Job, Work
from kdarena.engines.engine import Engine, Result, Spec
from kdarena.execute import environment
from kdarena.plan.cost import CostProfile, ProfileSpec
from kdarena.plan.spec import COMPLETE, LASTING, RunResult, RunSpec, Status
from kdarena.record.runs import Record
from kdarena.record.store import Store
from kdarena.tracks import find_card


class Display(Protocol):
    """Where the arena says what it does."""

    def say(self, text: str) -> None:
        """One line for the user."""

    def expect(self, jobs: int, seconds: float | None) -> None:
        """So many jobs are to come, of so many seconds of device time each, where that is known."""

    def started(self, job: Job) -> None:
        """A job was handed to a worker."""

    def progress(self, spec: Spec, fraction: float) -> None:
        """A job has come so far."""

    def finished(self, job: Job, result: Result) -> None:
        """A job has a result."""


class Ledger:
    """Runs what is asked for unless it is recorded, and records what comes of it.

    Attributes:
        recorded: results by key that stand for good.
        failures: one line a failure, by key or method.
        trained: runs of this command.
        board_amount: budget of the board that is being made.
        latency: of the deployed student in milliseconds, by method and task.
    """

    def __init__(self, record: Record, store: Store, engine: Engine, display: Display, teachers: Path):
        self.record, self.store, self.engine, self.display, self.teachers = record, store, engine, display, teachers
        self.recorded: dict[str, RunResult] = {}
        self._known: set[str] = set()
        for run in record.runs():
            self._known.add(run.key)
            if run.result.status in LASTING:
                self.recorded[run.key] = run.result
        self._tried: dict[str, Result] = {}
        self.failures: dict[str, str] = {}
        self.trained = 0
        self.board_amount = 0.0
        self.latency: dict[tuple[str, str], float] = {}

    def schedule(self, works: Sequence[Work]) -> None:
        """Do all works."""
        scheduler.run(self.engine, works, recall=self._recall, keep=self._keep, started=self.display.started, progress=self.display.progress)

    def profiles(self, specs: Sequence[ProfileSpec]) -> list[CostProfile]:
        """Cost profiles in the order of their specs, each alone on its device; measured once and recorded."""
        found: list[CostProfile] = []

        def work() -> Work:
            results = yield [Job(spec, "profile") for spec in specs]
            found.extend(result for result in results if isinstance(result, CostProfile))

        self.schedule([work()])
        return found

    def _recall(self, spec: Spec) -> Result | None:
        if isinstance(spec, ProfileSpec):
            return self.store.profile(spec.key)
        if spec.purpose == "teacher" and not (self.teachers / f"{spec.key}.safetensors").exists():
            return None  # its file is gone: only training brings it back
        # a run that failed is tried again by the next command, not by this one
        known = self.recorded.get(spec.key) or self._tried.get(spec.key)
        if known is not None:
            self._note_failure(spec, known)  # type: ignore[arg-type]
        return known  # type: ignore[return-value]

    def _keep(self, job: Job, result: Result) -> None:
        if isinstance(result, CostProfile):
            self.store.keep_profile(result)
        else:
            assert isinstance(job.spec, RunSpec)
            spec = job.spec
            latency = self.latency.get((spec.method, spec.task)) if spec.purpose in ("final", "control") else None
            if latency is not None and result.status in COMPLETE:
                result = replace(result, system={**result.system, "latency_ms": latency})
            if spec.purpose == "teacher" and result.checkpoint is not None:
                (self.record.checkpoints / result.checkpoint).replace(self.teachers / f"{spec.key}.safetensors")
            result = replace(result, environment={**result.environment, **environment.of_arena()})
            self.record.log(spec, result, setting=job.setting, facts=self._facts(spec))
            self._tried[spec.key] = result
            self.trained += 1
            if result.status in LASTING:
                self.recorded[spec.key] = result
            self._note_failure(spec, result)
        self.display.finished(job, result)

    def _note_failure(self, spec: RunSpec, result: RunResult) -> None:
        if result.status not in (*COMPLETE, "pruned", "skipped"):
            self.failures[spec.key] = f"{spec.task} {spec.method} seed {spec.seed} ({spec.purpose}): {result.status}: {result.error}"

    def _facts(self, spec: RunSpec) -> dict[str, str]:
        card = find_card(spec.task)
        facts = {"track": card.track, "metric": card.metric}
        if spec.purpose != "teacher":
            facts["budget"] = repr(self.board_amount)  # of the board: a trial's or a ladder's own is a part of it
        return facts

    def log_without_run(self, spec: RunSpec, status: Status, error: str) -> None:
        """A row that says why a method has no runs; once."""
        if status == "skipped" and spec.key in self._known:
            return
        self._known.add(spec.key)
        self.record.log(spec, RunResult(spec.key, status, error=error), setting="default", facts=self._facts(spec))
