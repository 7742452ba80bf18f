"""What belongs to one run among several."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from kdarena.execute.turns import OwnStream, RandomState


def drawn():
    return float(torch.rand(())), random.random(), float(np.random.rand())


def test_every_global_generator_goes_on_where_its_run_left_it():
    first, second = RandomState(), RandomState()
    values = {}
    for name, state, seed in (("a", first, 1), ("b", second, 2)):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        values[name] = [drawn()]
        state.keep()
    for name, state in (("a", first), ("b", second), ("a", first)):
        state.put()
        values[name].append(drawn())
        state.keep()
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    assert values["a"] == [drawn() for _ in range(3)]


class Generator:
    """A GPU's default generator: its state is an object, which a captured graph keeps."""

    def __init__(self, state):
        self.state = state

    def clone_state(self):
        return Generator(list(self.state))

    def graphsafe_get_state(self):
        return Generator(self.state)

    def graphsafe_set_state(self, other):
        self.state = other.state


@pytest.fixture
def gpu(monkeypatch):
    """A double of torch.cuda with one device: notes on which stream is waited for which, and which is current."""
    double = SimpleNamespace(current="default", waits=[], default=Generator([0]))

    class Stream:
        device_index = 0

        def wait_stream(self, other):
            double.waits.append((self, other))

    class Current:
        def __init__(self, stream):
            self.stream = stream

        def __enter__(self):
            double.current, self.before = self.stream, double.current

        def __exit__(self, *_):
            double.current = self.before

    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream())
    monkeypatch.setattr(torch.cuda, "stream", Current)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: double.current)
    monkeypatch.setattr(torch.cuda, "default_generators", [double.default])
    return double


def test_on_a_gpu_a_run_has_a_stream_of_its_own_that_begins_after_what_was_given_before(gpu):
    own = OwnStream(torch.device("cuda:0"))
    with own.current():
        assert gpu.current is own._stream
    assert gpu.current == "default"
    assert gpu.waits == [(own._stream, "default")]


def test_on_a_gpu_the_default_generator_has_the_runs_own_state_in_its_turn_and_the_same_object_in_the_next(gpu):
    first, second = OwnStream(torch.device("cuda:0")), OwnStream(torch.device("cuda:0"))
    with first.current():
        captured = gpu.default.state
        gpu.default.state[0] = 5  # what it draws changes the state in its place
    with second.current():
        assert gpu.default.state == [0]
    assert gpu.default.state == [0]
    with first.current():
        assert gpu.default.state is captured
        assert gpu.default.state == [5]
        gpu.default.state = [7]  # another object, as after a capture that failed
    with second.current():
        assert gpu.default.state == [0]
    with first.current():
        assert gpu.default.state == [7]
