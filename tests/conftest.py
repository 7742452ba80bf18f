"""Synthetic runs: recorded values without any training."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from kdarena.method.declaration import REFERENCE, Method, Paper
from kdarena.plan.spec import Budget, PhaseCost, PhaseRecord, RunResult, RunSpec
from kdarena.record.mlflow import MlflowCopy
from kdarena.record.recorded import RecordedRun
from kdarena.record.runs import Record

torch.set_num_threads(1)  # as a worker trains; with more, tests that run side by side wait for each other's threads

OWN_CACHE = "KDARENA_TESTS_CACHE"


def pytest_configure(config: pytest.Config) -> None:
    """What is found out about plugins is kept in a folder of this session, which its workers share, not in the user's own."""
    gc.disable()  # until all tests are collected; not where this module is imported, which a test does too
    if OWN_CACHE not in os.environ:
        os.environ[OWN_CACHE] = os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="kdarena-tests-")
        config.add_cleanup(_remove_cache)


def pytest_collection_finish() -> None:
    """What collecting has loaded stays: the collector of reference cycles, which would walk over it again and again, leaves it out."""
    gc.freeze()
    gc.enable()


def _remove_cache() -> None:
    shutil.rmtree(os.environ.pop(OWN_CACHE), ignore_errors=True)


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    """Each test draws the same numbers, whatever ran before it in this process."""
    torch.manual_seed(0)


REFERENCE_KEY = "0123456789abcdef"


class Synthetic:
    """Makes specs, results and recorded runs of made-up methods."""

    def __init__(self) -> None:
        self._number = 0

    def spec(self, method: str = "kd", seed: int = 0, **changes: Any) -> RunSpec:
        teachers = () if method == "student" else ((REFERENCE, REFERENCE_KEY),)
        cost = PhaseCost("train", None, 1.0, 0.01, 1.0, 0.005, 1000)
        budget = Budget(60.0, "s")
        made = RunSpec("digits", method, "source", "final", seed, budget, (cost,), teachers=teachers, reference=REFERENCE_KEY, data="data")
        return replace(made, **changes)

    def result(self, spec: RunSpec, value: float = 90.0, validation: float | None = None, steps: int = 6000, **changes: Any) -> RunResult:
        metrics = {"validation/top1": value if validation is None else validation, "test/top1": value, "test/top5": 99.0, "test/teacher_kl": 0.25}
        made = RunResult(
            key=spec.key,
            status="done",
            metrics=metrics,
            curves={"train/ce": [(0, 2.0), (100, 1.0)]},
            phases=(PhaseRecord("train", steps, steps),),
            committed=spec.budget.amount,
            spent_s=61.0,
            steps=steps,
            samples=64 * steps,
            flops=1e9,
            parameters=1234,
            system={"latency_ms": 0.5},
            environment={"torch": "2.13.0"},
        )
        return replace(made, **changes)

    def failure(self, spec: RunSpec, status: Any = "diverged", error: str = "step 7: term 'ce' is nan") -> RunResult:
        return RunResult(spec.key, status, error=error)

    def recorded(self, spec: RunSpec, result: RunResult, setting: str = "default", **facts: str) -> RecordedRun:
        self._number += 1
        started = datetime.fromtimestamp(1.7e9 + self._number, UTC)
        return RecordedRun(f"{self._number:032x}", spec.key, spec, result, setting, facts, started)

    def run(
        self, method: str = "kd", seed: int = 0, value: float = 90.0, *, setting: str = "default", facts: dict[str, str] | None = None, **changes: Any
    ) -> RecordedRun:
        """A finished run; further changes are of its spec or of its result, whichever has the field."""
        of_spec = {name: change for name, change in changes.items() if name in RunSpec.__dataclass_fields__ and name != "steps"}
        spec = self.spec(method, seed, **of_spec)
        result = self.result(spec, value, **{name: change for name, change in changes.items() if name not in of_spec})
        return self.recorded(spec, result, setting, **(facts or {}))

    def failed(self, method: str = "kd", seed: int = 0, status: Any = "diverged", error: str = "step 7: term 'ce' is nan", **changes: Any) -> RecordedRun:
        spec = self.spec(method, seed, **changes)
        return self.recorded(spec, self.failure(spec, status, error))

    def runs(self, method: str, values: list[float], **changes: Any) -> list[RecordedRun]:
        """Finished runs of the seeds from 0."""
        return [self.run(method, seed, value, **changes) for seed, value in enumerate(values)]

    def method(self, name: str, **changes: Any) -> Method:
        return Method(name, name.title(), Paper(f"On {name}", "Journal", 2020, "https://example.org"), **changes)


@pytest.fixture
def synthetic() -> Synthetic:
    return Synthetic()


@pytest.fixture(scope="session")
def synthetic_of_session() -> Synthetic:
    """For what is made once and read by several tests."""
    return Synthetic()


@pytest.fixture(scope="session")
def empty_output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output directory without a run."""
    directory = tmp_path_factory.mktemp("empty") / "out"
    Record.open(directory).close()
    return directory


@pytest.fixture
def open_record(empty_output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Record]]:
    """Opens the record of a fresh output directory, again and again; its runs are not written to MLflow, which takes seconds."""
    monkeypatch.setattr(MlflowCopy, "write_missing", lambda copy, seconds=0.0: 0)
    shutil.copytree(empty_output, tmp_path / "out")
    opened: list[Record] = []

    def open_it(*, create: bool = True) -> Record:
        opened.append(Record.open(tmp_path / "out", create=create))
        return opened[-1]

    yield open_it
    for record in opened:
        record.close()


@pytest.fixture
def record(open_record: Callable[..., Record]) -> Record:
    return open_record()
