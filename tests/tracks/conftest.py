"""What the tests of all tracks share: every test computes with one thread, as a worker does, whatever a test before it set."""

import threading
from collections.abc import Callable, Iterator

import pytest
import torch

from kdarena.tracks.ahead import THREAD


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def threads_ahead() -> Callable[[], list[threading.Thread]]:
    """The threads that make items ahead and have started in this test."""
    before = threading.enumerate()
    return lambda: [thread for thread in threading.enumerate() if thread.name == THREAD and thread not in before]
