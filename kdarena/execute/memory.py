"""The peak of memory of one run in a worker that serves many."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import sys
from pathlib import Path

import torch


def free_bytes(device: torch.device) -> int:
    """Bytes that can still be taken: of a GPU's own memory, else of the host's; 0 where the machine can't tell."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    with contextlib.suppress(OSError):
        available = re.search(r"MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text())
        if available is not None:
            return int(available[1]) * 2**10
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 0


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
