"""What runs take of a device's memory, in a worker that serves many."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import sys
from collections.abc import Mapping
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


class Memory:
    """The peak of memory from when this is made, where the machine can tell."""

    def __init__(self, device: torch.device):
        self._device = device
        if device.type == "cuda":
            _drop_workspaces()
            torch.cuda.empty_cache()  # what earlier runs have left is free
            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_reserved(device)
            self._free, _ = torch.cuda.mem_get_info(device)
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")

    def taken(self) -> Mapping[str, float]:
        """In MiB: ``peak_memory_mib`` of a GPU's own memory, else of the process; on a GPU also ``own_memory_mib``, what was reserved in addition to what was
        before, and ``free_memory_mib``, what was free then."""
        if self._device.type != "cuda":
            return {"peak_memory_mib": _peak_of_process()}
        own = torch.cuda.max_memory_reserved(self._device) - self._before
        return {"peak_memory_mib": torch.cuda.max_memory_allocated(self._device) / 2**20, "own_memory_mib": own / 2**20, "free_memory_mib": self._free / 2**20}


def _drop_workspaces() -> None:
    """Have cuBLAS give back what it keeps for each stream that ever was current: 32 MiB on an H100, and each run has a stream of its own."""
    drop = getattr(torch._C, "_cuda_clearCublasWorkspaces", None)
    if drop is not None:
        drop()


def _peak_of_process() -> float:
    with contextlib.suppress(OSError):
        held = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
        if held is not None:
            return int(held[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
