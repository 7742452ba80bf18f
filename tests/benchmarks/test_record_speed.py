"""Boards and their page from 10,000 recorded runs: reading them, and the whole commands from the start of its process."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from benchmarks import tools
from kdarena.board.evidence import RowValues, evidence
from kdarena.execute.execute import execute
from kdarena.execute.workspace import Workspace
from kdarena.method.declaration import REFERENCE
from kdarena.method.discovery import discover
from kdarena.plan.spec import Budget, PhaseCost, RunResult, RunSpec
from kdarena.record import index, output, samples
from kdarena.record.recorded import Document, RecordedRun
from kdarena.record.runs import Record
from kdarena.tracks import find_card

RUNS, SEEDS = (3_000, 5) if tools.SHORT else (10_000, 10)
BUDGETS = tuple(float(amount) for amount in (6e9, 12e9, 24e9, 48e9, 96e9))


def real_run(folder: Path) -> tuple[RunSpec, RunResult]:
    """A student trained on digits, with curves, metrics and environment as they are recorded."""
    cost = PhaseCost("train", None, 1.0, 1.0, 1.0, 0.004, 10)
    spec = RunSpec("digits", "student", "", "final", 0, Budget(1500, "flop"), (cost,), data=find_card("digits").digest(None))
    return spec, execute(spec, Workspace(folder, folder))


def packed_text(result: RunResult) -> str:
    """The file of what a run scored on each test sample."""
    assert result.test_samples is not None
    with tempfile.TemporaryDirectory() as folder:
        samples.keep(Path(folder), "one", result.test_samples)
        return samples.file_of(Path(folder), "one").read_text()


def varied(spec: RunSpec, result: RunResult) -> itertools.chain[tuple[RunSpec, RunResult, str, float]]:
    """The runs of five boards: every method's trials, and its finals in the default and the tuned setting."""
    methods = [plugin.name for plugin in discover() if plugin.error is None]
    draw = random.Random(0)
    trials = RUNS // (len(methods) * len(BUDGETS)) - 2 * SEEDS

    def made(method: str, amount: float, seed: int, setting: str, **changes: object) -> tuple[RunSpec, RunResult, str, float]:
        teachers = () if method == "student" else ((REFERENCE, "0123456789abcdef"),)
        one = replace(spec, method=method, source=f"source of {method}", seed=seed, budget=Budget(amount, "flop"), teachers=teachers, **changes)
        one = replace(one, reference="0123456789abcdef" if one.purpose == "final" else None)
        metrics = {name: value + draw.gauss(0, 1) for name, value in result.metrics.items()}
        return one, replace(result, key=one.key, metrics=metrics, committed=amount, spent_s=draw.random()), setting, amount

    return itertools.chain.from_iterable(
        [
            *(made(method, amount, 99, "trial", purpose="tune", params={"tau": draw.random()}) for _ in range(trials)),
            *(made(method, amount, seed, "default") for seed in range(SEEDS)),
            *(made(method, amount, seed, "tuned", params={"tau": 0.5}) for seed in range(SEEDS)),
        ]
        for amount in BUDGETS
        for method in methods
    )


@pytest.fixture(scope="session")
def large_record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output directory of 10,000 runs, written as files without an index."""
    folder = tmp_path_factory.mktemp("large")
    spec, result = real_run(folder)
    directory = folder / "out"
    output.claim(directory)
    (directory / index.RUNS).mkdir()
    runs = list(varied(spec, result))
    extra = [(replace(spec, seed=1000 + number, purpose="tune"), result, "trial", BUDGETS[0]) for number in range(RUNS - len(runs))]
    (directory / "students").mkdir()
    kept = packed_text(result)
    for number, (one, came, setting, amount) in enumerate([*runs, *extra]):
        came = replace(came, test_samples=None)
        if one.purpose == "final":
            samples.file_of(directory / "students", one.key).write_text(kept)
        facts = {"track": "classification", "metric": "top1", "budget": repr(amount)}
        run = RecordedRun(f"{number:032x}", one.key, one, came, setting, facts, datetime.fromtimestamp(1.7e9 + number, UTC))
        index.file_of(directory, run.run_id).write_text(Document.of(run, 1_700_000_000_000_000_000 + number).text())
    started = time.perf_counter()
    assert len(Record.open(directory, create=False).runs()) == RUNS
    size = (directory / index.INDEX).stat().st_size
    print(f"\nthe index made from {RUNS} files: {time.perf_counter() - started:.2f} s, {size / RUNS / 1000:.1f} kB a run")
    return directory


def leaderboard(form: str, record: Path) -> tuple[float, bytes]:
    """Seconds of the command from the start of its process, the shortest of several, and what it prints."""
    seconds = []
    for _ in range(2 if tools.SHORT else 5):
        started = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "kdarena", "leaderboard", "--format", form, "--out", str(record)], capture_output=True, check=True)
        seconds.append(time.perf_counter() - started)
    return min(seconds), done.stdout


@pytest.mark.benchmark
def test_ten_thousand_runs_are_read_in_a_second(large_record):
    seconds = []
    for _ in range(2 if tools.SHORT else 5):
        started = time.perf_counter()
        assert len(Record.open(large_record, create=False).runs()) == RUNS
        seconds.append(time.perf_counter() - started)
    print(f"\n{RUNS} runs read in {min(seconds):.2f} s")
    assert min(seconds) < 1.0 * (tools.GROSS if tools.SHORT else 1)


@pytest.mark.benchmark
def test_the_board_of_ten_thousand_runs_takes_three_seconds_from_the_start_of_the_process(large_record):
    seconds, text = leaderboard("json", large_record)
    print(f"\nthe boards of {RUNS} runs in {seconds:.2f} s, {len(text) / 1000:.0f} kB of JSON")
    assert seconds < 3.0 * (tools.GROSS if tools.SHORT else 1)


@pytest.mark.benchmark
def test_the_statistics_of_fifty_methods_with_twenty_seeds_take_a_fifth_of_a_second():
    values = np.random.default_rng(0).normal(90.0, 1.0, (50, 20)) + np.linspace(0, 3, 50)[:, None]
    rows = [RowValues(dict(enumerate(row)), True) for row in values.tolist()]
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        evidence(rows, 0, 1)
        seconds.append(time.perf_counter() - started)
    print(f"\n50 methods with 20 seeds are compared in {min(seconds) * 1e3:.0f} ms")
    assert min(seconds) < 0.2


@pytest.mark.benchmark
def test_the_page_of_ten_thousand_runs_takes_five_seconds_from_the_start_of_the_process_and_five_megabytes(large_record):
    seconds, text = leaderboard("html", large_record)
    print(f"\nthe page of {RUNS} runs in {seconds:.2f} s, {len(text) / 1e6:.2f} MB")
    assert seconds < 5.0 * (tools.GROSS if tools.SHORT else 1)
    assert len(text) < 5e6
