"""How a device captures a step, so that it can be taken again without its Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch

from kdarena.collector import uncollected
from kdarena.errors import described

Replay = Callable[[], None]
"""Takes a captured step again."""


class NotCaptured(Exception):
    """A step could not be captured; it was not taken, and everything is as before."""


class Capture(Protocol):
    """Captures the steps of one run."""

    def aside(self) -> AbstractContextManager[None]:
        """Where steps are taken that come before a capture."""

    def take(self, step: Callable[[], None], generators: Sequence[torch.Generator]) -> Replay:
        """Take a step, once, so that it can be taken again.

        Args:
            generators: that the step draws from, in addition to torch's own.

        Raises:
            NotCaptured: says why.
        """


class CudaCapture:
    """Captures steps as CUDA graphs: one pool of memory a run, since its graphs are never replayed at the same time.

    Its stream is its own: what a library keeps for a stream, as cuBLAS its workspace, is then no other run's.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """See :meth:`Capture.aside`: the stream of the captures, where libraries have set themselves up before the first of them."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:
            current.wait_stream(self._stream)

    def take(self, step: Callable[[], None], generators: Sequence[torch.Generator]) -> Replay:
        """See :meth:`Capture.take`."""
        graph = torch.cuda.CUDAGraph()
        own = torch.cuda.default_generators[torch.cuda.current_device() if self._device.index is None else self._device.index]
        drawn = [generator for generator in generators if generator.device.type == "cuda" and generator is not own]
        states = [(generator, generator.clone_state()) for generator in (own, *drawn)]
        current = torch.cuda.current_stream(self._device)
        try:
            for generator in drawn:
                graph.register_generator_state(generator)
            # thread_local: what a thread that prepares batches asks of the device at the same time does no harm
            # uncollected: the collector might free an older graph, and so ask something of the device that a capture forbids
            with uncollected(), torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                step()
        except Exception as error:
            # a capture that fails may leave its stream the current one, and generators that take it to be still under way
            torch.cuda.set_stream(current)
            for generator, state in states:
                generator.graphsafe_set_state(state)
            if isinstance(error, torch.OutOfMemoryError):
                raise  # no eager step would have more; runs side by side begin anew, fewer at a time
            raise NotCaptured(described(error)) from None
        graph.replay()
        return graph.replay


def capture_on(device: torch.device) -> Capture | None:
    """What captures the steps of a run on a device; None where nothing can."""
    return CudaCapture(device) if device.type == "cuda" else None
