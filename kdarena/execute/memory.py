"""The peak of memory of one run in a worker that serves many."""

from __future__ import annotations

import contextlib
import re
import resource
import sys
from pathlib import Path

import torch


def forget_peak(device: torch.device) -> None:
    """Each run has a peak of its own, where the machine can tell."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib(device: torch.device) -> float:
    """MiB at most since then: of a GPU's own memory, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    with contextlib.suppress(OSError):
        held = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
        if held is not None:
            return int(held[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
