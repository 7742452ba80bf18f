"""What a call costs: its floating-point operations and its time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

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
