"""What the tests of all tracks share: every test computes with one thread, as a worker does, whatever a test before it set."""

import threading
from collections.abc import Callable, Iterator

import pytest
import torch

from kdarena.tracks.ahead import THREAD
from kdarena.tracks.samples import metric_of, packed, unpacked
from kdarena.tracks.task import Task
from kdarena.tracks.values import Split


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


@pytest.fixture
def check_samples() -> Callable[[Task], None]:
    """Checks that the sums over a task's test samples give its ranked metric, for an untrained student, and that they are small and read as written."""

    def check(task: Task) -> None:
        torch.manual_seed(1)
        found = task.measured(task.new_network(task.card.student), "test", Split(0))
        samples = found.samples
        assert samples is not None
        assert len(samples.counts) == task.card.test
        assert metric_of(samples.form, samples.counts.sum(axis=0)) == pytest.approx(found.metrics[task.card.metric], rel=1e-12)
        text = packed(samples)
        assert len(text.counts) < 8000
        again = unpacked(text)
        assert (again.form, again.counts.tolist()) == (samples.form, samples.counts.tolist())

    return check
