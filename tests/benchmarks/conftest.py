"""The benchmarks print what they measured as one table at the end: the README's speed section is that table."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

import pytest
import torch

FIGURES = pytest.StashKey[list[tuple[str, str, str]]]()

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


@pytest.fixture(autouse=True, scope="session")
def allocator_of_a_worker():
    """What a worker's environment sets before it starts: without it the pages of large tensors go back and forth, and drown what is measured."""
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 64 * 2**20)):
                mallopt(parameter, value)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def figure(request) -> Callable[[str, str, str], None]:
    """Takes what was measured, its value and its limit, as they are printed."""
    figures = request.config.stash.setdefault(FIGURES, [])
    return lambda what, value, limit: figures.append((what, value, limit))


def pytest_terminal_summary(terminalreporter, config):
    """Print the table of what was measured, ready for the README."""
    rows = config.stash.get(FIGURES, [])
    if rows:
        terminalreporter.write_line("")
        for row in (("on one CPU thread", "measured", "limit"), ("---",) * 3, *rows):
            terminalreporter.write_line(f"| {' | '.join(row)} |")
