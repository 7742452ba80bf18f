"""Operations and time of a call."""

from __future__ import annotations

import pytest
import torch

from kdarena.tracks import measure
from kdarena.tracks.measure import count_operations, median_ms


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
