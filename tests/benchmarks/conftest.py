from __future__ import annotations

import ctypes
import sys

import pytest
import torch

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
