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


def finish(device: torch.device) -> None:
    """Wait until the device has done what it was given on the current stream, where it has several."""
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()


class DeviceClock:
    """Moments in the work of a device, in the order in which it is given it, taken without waiting for it.

    On a CPU the time between two is processor time of the process and of the children that it has waited for, divided by the threads that torch
    computes with: a neighbour's load changes it by a few percent, where the clock on the wall shows twice the time. On CUDA a moment is an event of the
    current stream, on other devices the time by the clock once the device has done what it was given.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._threads = torch.get_num_threads()  # as when this is made: what is measured may set another number

    def now(self) -> Any:
        """This moment."""
        if self._device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            return event
        if self._device.type != "cpu":
            synchronize(self._device)
            return time.perf_counter()
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (time.process_time() + children.ru_utime + children.ru_stime) / self._threads

    def seconds(self, begin: Any, end: Any) -> float:
        """Seconds from one moment to another, once the device has come to the later one."""
        if self._device.type != "cuda":
            return float(end - begin)
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1000

    def reached(self, moment: Any) -> bool:
        """Whether the device has come to a moment."""
        return self._device.type != "cuda" or bool(moment.query())


class Stopwatch:
    """Device time between :meth:`start` and :meth:`stop`, in seconds (:class:`DeviceClock`)."""

    def __init__(self, device: torch.device):
        self._clock = DeviceClock(device)
        self._begin: Any = None

    def start(self) -> None:
        """Begin; what the device was given before is not counted."""
        self._begin = self._clock.now()

    def stop(self) -> float:
        """Seconds since :meth:`start`, once the device has done everything that it was given in between."""
        return self._clock.seconds(self._begin, self._clock.now())


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
