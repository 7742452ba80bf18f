"""What belongs to one run of several that take turns in a process, and is in its place while the run has its turn.

The states of the global generators, from which dropout and helpers draw; the modules of the run's plugin; on CUDA a stream, so that what the runs give the
device does not wait for each other. So a run draws and finds what it would alone.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy
import torch

from kdarena.execute.workspace import Workspace


class RandomState:
    """The global generators as a run left them: torch's, Python's and numpy's."""

    def __init__(self) -> None:
        self._states: tuple[Any, ...] | None = None

    def put(self) -> None:
        """Put them where the run left them; at its first turn, before it has seeded them, they stay as they are."""
        if self._states is not None:
            ours, python, of_numpy = self._states
            torch.set_rng_state(ours)
            random.setstate(python)
            numpy.random.set_state(of_numpy)

    def keep(self) -> None:
        """Remember where they are."""
        self._states = torch.get_rng_state(), random.getstate(), numpy.random.get_state()


class OwnStream:
    """A stream of a GPU, and a state for the GPU's default generator.

    The generator is given another state, not other values: a captured graph draws from the state with which it was captured, and goes on there.
    """

    def __init__(self, device: torch.device):
        torch.cuda.init()
        self._stream = torch.cuda.Stream(device)
        self._device = device
        self._generator = torch.cuda.default_generators[self._stream.device_index]
        self._state = self._generator.clone_state()

    @contextmanager
    def current(self) -> Iterator[None]:
        """What the device is given within it goes there, after what its current stream was given before, and draws from there."""
        before = self._generator.graphsafe_get_state()
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        self._generator.graphsafe_set_state(self._state)
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:
            self._state = self._generator.graphsafe_get_state()  # a capture that failed has put another object there
            self._generator.graphsafe_set_state(before)


class Own:
    """What belongs to one run among several."""

    def __init__(self, workspace: Workspace):
        device = torch.device(workspace.device)
        self._workspace = workspace
        self._random = RandomState()
        self._modules: Mapping[str, ModuleType] = {}
        self._stream = OwnStream(device) if device.type == "cuda" else None

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The run's turn."""
        self._workspace.put_plugin_modules(self._modules)
        self._random.put()
        try:
            if self._stream is None:
                yield
            else:
                with self._stream.current():
                    yield
        finally:
            self._random.keep()
            self._modules = self._workspace.take_plugin_modules()


class OwnTime:
    """Seconds by the clock on the wall and of the processor from when this is made, without those of other runs' turns."""

    def __init__(self) -> None:
        self._wall, self._processor = -time.perf_counter(), -time.process_time()

    @property
    def wall(self) -> float:
        """Seconds by the clock."""
        return self._wall + time.perf_counter()

    @property
    def processor(self) -> float:
        """Seconds of the processor."""
        return self._processor + time.process_time()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Other runs have their turn."""
        wall, processor = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self._wall -= time.perf_counter() - wall
            self._processor -= time.process_time() - processor
