"""Operations and time of a call."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
import torch

from kdarena.tracks import measure
from kdarena.tracks.measure import Stopwatch, count_operations, median_ms

CPU = torch.device("cpu")


def test_a_multiplication_and_its_addition_are_two_operations():
    left, right = torch.ones(2, 3), torch.ones(3, 4)
    assert count_operations(lambda: left @ right) == 2 * 2 * 3 * 4


def test_the_time_is_the_median_over_calls_after_three_to_warm_up(monkeypatch: pytest.MonkeyPatch):
    clock, calls = [0.0], []

    class Clock:
        @staticmethod
        def perf_counter() -> float:
            return clock[0]

    def call() -> None:
        """Call number n takes n milliseconds."""
        clock[0] += len(calls) / 1000
        calls.append(1)

    monkeypatch.setattr(measure, "time", Clock)
    assert median_ms(call, torch.device("cpu")) == pytest.approx(3 + (measure.LATENCY_CALLS - 1) / 2)


def busy(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_a_stopwatch_counts_work_and_no_waiting():
    watch = Stopwatch(CPU)
    watch.start()
    time.sleep(0.1)
    busy(0.02)
    assert watch.stop() * torch.get_num_threads() == pytest.approx(0.02, abs=0.015)


def test_a_stopwatch_counts_what_a_child_process_did():
    watch = Stopwatch(CPU)
    watch.start()
    code = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-S", "-c", code], check=True)
    assert watch.stop() * torch.get_num_threads() > 0.29


def test_with_two_threads_a_second_of_the_device_is_two_seconds_of_processor_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    watch = Stopwatch(CPU)
    watch.start()
    busy(0.1)
    assert watch.stop() == pytest.approx(0.05, rel=0.3)
