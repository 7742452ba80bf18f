"""The recorder: the only place from which jobs go to the engine and their results into the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from kdarena.arena import scheduler
from kdarena.arena.device_share import DeviceShare
from kdarena.arena.observers import Observers
from kdarena.arena.parts import in_parts
from kdarena.arena.scheduler import Job, Work
from kdarena.arena.seed_clock import SeedClock
from kdarena.arena.side_by_side import SideBySide
from kdarena.board.selection import Asked
from kdarena.engines.engine import Engine, Result, Spec
from kdarena.execute import environment
from kdarena.files import digest_of
from kdarena.plan.cost import CostProfile, ProfileSpec
from kdarena.plan.spec import COMPLETE, LASTING, RunResult, RunSpec, Status
from kdarena.record import samples
from kdarena.record.runs import Record
from kdarena.record.store import Store


class Display(Protocol):
    """Where the arena says what it does."""

    def say(self, text: str) -> None:
        """One line for the user."""

    def expect(self, jobs: int) -> None:
        """So many jobs are to come."""

    def started(self, job: Job) -> None:
        """A job was handed to a worker."""

    def progress(self, spec: Spec, fraction: float) -> None:
        """A job has come so far."""

    def finished(self, job: Job, result: Result) -> None:
        """A job has a result."""

    def again(self, job: Job, why: str) -> None:
        """A run that had others at its side is to be run again, alone."""


class Recorder:
    """Runs what is asked for unless it is recorded, and records what comes of it.

    Attributes:
        recorded: results by key that need no second run.
        asked: every run that this command asked for, by its key: what the command's boards are made of.
        failures: one line a failure, by the key of its run, or by task and method where there is no run.
        trained: number of runs of this command.
        device_share: what the device time of this command went into.
    """

    def __init__(
        self,
        record: Record,
        store: Store,
        engine: Engine,
        display: Display,
        teachers: Path,
        side_by_side: SideBySide | None = None,
        observers: Observers | None = None,
    ):
        """
        Args:
            teachers: folder of the teachers' checkpoints.
            side_by_side: chooses runs that train side by side; None: none do.
            observers: hear of the runs; None: nobody does.
        """
        self._observers = observers
        self._side_by_side = side_by_side or SideBySide(1)
        self.record, self.store, self.engine, self.display, self.teachers = record, store, engine, display, teachers
        self.recorded: dict[str, RunResult] = {}
        self.asked: dict[str, Asked] = {}
        self._known: set[str] = set()
        for run in record.runs():
            self._known.add(run.key)
            if run.result.status in LASTING:
                self.recorded[run.key] = run.result
                self._side_by_side.learn(run.spec, run.result)
        self._tried: dict[str, RunResult] = {}
        self.failures: dict[str, str] = {}
        self.trained = 0
        self.device_share = DeviceShare()

    @property
    def capacity(self) -> int:
        """Number of jobs that run at once."""
        return self.engine.capacity

    def schedule(self, works: Sequence[Work], clock: SeedClock | None = None) -> None:
        """Do all works; those final runs that a clock admits, where one is given."""

        def asked(job: Job, recalled: bool) -> None:
            if isinstance(job.spec, RunSpec):
                self.asked[job.spec.key] = Asked(job.setting, job.facts)
            if clock is not None:
                clock.asked(job, recalled)

        scheduler.run(
            self.engine,
            works,
            asked=asked,
            recall=self._recall,
            keep=self._keep,
            admits=clock.admits if clock is not None else lambda job: True,
            companions=partial(self._companions, clock is not None) if self._side_by_side.several else None,
            started=self._started,
            progress=self.display.progress,
            again=self._again,
        )

    def _started(self, job: Job) -> None:
        self.display.started(job)
        if self._observers is not None and isinstance(job.spec, RunSpec):
            self._observers.started(job.spec)

    def _again(self, job: Job, why: str) -> None:
        self._side_by_side.set_apart(job.spec)
        self.display.again(job, why)

    def _companions(self, in_order: bool, idle: int, job: Job, waiting: Sequence[Job]) -> list[Job]:
        return self._side_by_side.companions(job, waiting, idle, in_order=in_order)

    def profiles(self, specs: Sequence[ProfileSpec], *, brief: bool = False) -> list[CostProfile]:
        """Cost profiles in the order of the specs of their first parts, each alone on its device; measured once and recorded.

        Args:
            brief: as in :func:`kdarena.plan.profile_parts.needs_another`.
        """
        profiles: list[CostProfile] = []

        def work() -> Work:
            profiles.extend((yield from in_parts(specs, brief=brief)))

        self.schedule([work()])
        for spec, profile in zip(specs, profiles, strict=True):
            self._side_by_side.learn(spec, profile)
        return profiles

    def log_without_run(self, spec: RunSpec, status: Status, error: str, facts: Mapping[str, str]) -> None:
        """A row that says why a method has no runs; once."""
        self.asked[spec.key] = Asked("default", facts)
        if status == "skipped" and spec.key in self._known:
            return
        self._known.add(spec.key)
        self.record.log(spec, RunResult(spec.key, status, error=error), setting="default", facts=facts)

    def note_failure(self, task: str, method: str, status: Status, error: str) -> None:
        """A method that fails before it has a run."""
        self.failures[f"{task} {method}"] = f"{task} {method}: {status}: {error}"

    def _recall(self, spec: Spec) -> Result | None:
        if isinstance(spec, ProfileSpec):
            return self.store.profile(spec.key)
        # a run that failed is tried again by the next command, not by this one
        known = self.recorded.get(spec.key) or self._tried.get(spec.key)
        if known is None:
            return None
        if not self._whole(spec, known):
            self.display.say(
                f"{spec.task}: the {'teacher' if spec.purpose == 'teacher' else spec.method} of seed {spec.seed} is trained again: its weights are missing or were changed"
            )
            return None
        self._note_failed_run(spec, known)
        return known

    def _whole(self, spec: RunSpec, result: RunResult) -> bool:
        """Whether the weights that a run left are there as it left them; only training brings them back."""
        if result.checkpoint is None or result.weights is None:
            return True
        path = self._teacher_file(result.weights) if spec.purpose == "teacher" else self.record.checkpoints / result.checkpoint
        return path.is_file() and digest_of(path) == result.weights

    def _keep(self, job: Job, result: Result) -> None:
        self.device_share.add(result)
        if isinstance(result, CostProfile):
            self.store.keep_profile(result)
        else:
            self._keep_run(job, result)
        self.display.finished(job, result)
        if self._observers is not None and isinstance(job.spec, RunSpec) and isinstance(result, RunResult):
            self._observers.finished(job.spec, result)

    def _keep_run(self, job: Job, result: RunResult) -> None:
        spec = job.spec
        assert isinstance(spec, RunSpec)
        self._side_by_side.learn(spec, result)
        if job.latency_ms is not None and result.status in COMPLETE:
            result = replace(result, system={**result.system, "latency_ms": job.latency_ms})
        if spec.purpose == "teacher" and result.checkpoint is not None and result.weights is not None:
            (self.record.checkpoints / result.checkpoint).replace(self._teacher_file(result.weights))
        if result.test_samples is not None:
            samples.keep(self.record.checkpoints, spec.key, result.test_samples)
        result = replace(result, test_samples=None, environment={**result.environment, **environment.of_arena()})
        self.record.log(spec, result, setting=job.setting, facts=job.facts)
        result = replace(result, curves={})  # as a run that is read again
        self._tried[spec.key] = result
        self.trained += 1
        if result.status in LASTING:
            self.recorded[spec.key] = result
        self._note_failed_run(spec, result)

    def _teacher_file(self, weights: str) -> Path:
        return self.teachers / f"{weights}.safetensors"

    def _note_failed_run(self, spec: RunSpec, result: RunResult) -> None:
        # a trial that diverged is an answer: its candidate is no good
        if result.status not in (*COMPLETE, "pruned", "skipped") and (spec.purpose, result.status) != ("tune", "diverged"):
            self.failures[spec.key] = f"{spec.task} {spec.method} seed {spec.seed} ({spec.purpose}): {result.status}: {result.error}"
