"""What a call costs: its floating-point operations and its time."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

WARM_UP_CALLS = 3
LATENCY_CALLS = 30
LATENCY_SECONDS = 1.0


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


class Stopwatch:
    """Device time between :meth:`start` and :meth:`stop`, in seconds.

    On a CPU it is processor time of the process and of the children that it has waited for, divided by the threads that torch computes with: a
    neighbour's load changes it by a few percent, where the clock on the wall shows twice the time. On CUDA it is the time between two events, on other
    devices the time by the clock between two synchronisations.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._threads = torch.get_num_threads()  # as when this is made: what is measured may set another number
        self._begin: Any = None

    def start(self) -> None:
        """Begin; what the device was given before is not counted."""
        if self._device.type == "cuda":
            self._begin = torch.cuda.Event(enable_timing=True)
            self._begin.record()
        else:
            synchronize(self._device)
            self._begin = self._now()

    def stop(self) -> float:
        """Seconds since :meth:`start`, once the device has done everything that it was given in between."""
        if self._device.type != "cuda":
            synchronize(self._device)
            return self._now() - float(self._begin)
        end = torch.cuda.Event(enable_timing=True)
        end.record()
        end.synchronize()
        return float(self._begin.elapsed_time(end)) / 1000

    def _now(self) -> float:
        if self._device.type != "cpu":
            return time.perf_counter()
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (time.process_time() + children.ru_utime + children.ru_stime) / self._threads


def count_operations(call: Callable[[], object]) -> int:
    """Floating-point operations of one call, as torch counts them: two a multiplication and addition."""
    counter = FlopCounterMode(display=False)
    with counter:
        call()
    return int(counter.get_total_flops())


def median_ms(call: Callable[[], object], device: torch.device) -> float:
    """Median time of a call in milliseconds, over at most 30 calls and about a second, after three to warm up."""
    for _ in range(WARM_UP_CALLS):
        call()
    times: list[float] = []
    end = time.perf_counter() + LATENCY_SECONDS
    while len(times) < LATENCY_CALLS and (len(times) < 3 or time.perf_counter() < end):
        synchronize(device)
        start = time.perf_counter()
        call()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)
