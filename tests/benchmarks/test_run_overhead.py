"""What a run costs in addition to its training: build and record."""

from __future__ import annotations

import statistics
import time

import pytest

from benchmarks import tools
from kdarena.execute.execute import execute
from kdarena.execute.workspace import Workspace
from kdarena.plan.spec import Budget, PhaseCost, RunSpec
from kdarena.record.runs import Record
from kdarena.tracks import find_card


@pytest.mark.benchmark
def test_a_run_costs_at_most_three_tenths_of_a_second_in_addition_to_its_training(tmp_path, figure):
    cost = PhaseCost("train", None, 1.0, 1.0, None, None, 10)
    with Record.open(tmp_path / "out") as record:
        bench = Workspace(tmp_path, record.checkpoints)
        record.checkpoints.mkdir(parents=True, exist_ok=True)
        overhead = []
        for seed in range(6):
            spec = RunSpec("digits", "student", "", "final", seed, Budget(60, "flop"), (cost,), data=find_card("digits").digest(None))
            started = time.perf_counter()
            result = execute(spec, bench)
            record.log(spec, result, setting="default", facts={})
            overhead.append(time.perf_counter() - started - result.spent_s)
    median = statistics.median(overhead[1:])
    figure("a run in addition to its training: built, scored, recorded", f"{median * 1e3:.0f} ms", "≤ 300 ms")
    assert median <= 0.3 * (tools.GROSS if tools.SHORT else 1)
