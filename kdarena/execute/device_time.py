"""The device time of runs that train side by side: to whom each moment of it belongs."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from kdarena.tracks.measure import DeviceClock


@dataclass(frozen=True)
class Block:
    """A stretch of a run's charged steps, in seconds since the first.

    Attributes:
        end: None where the device has not come to it.
    """

    run: Hashable
    begin: float
    end: float | None


class DeviceTime:
    """Device time of the charged steps of one run, or of several that share a device: where the steps of several are at work at once, each has
    an equal part of that time, so that what all have together is what the device took."""

    def __init__(self, device: torch.device):
        self._clock = DeviceClock(device)
        self._first = self._clock.now()
        self._blocks: list[Block] = []
        self._under_way: deque[tuple[Hashable, Any, Any]] = deque()

    @contextmanager
    def charged(self, run: Hashable) -> Iterator[None]:
        """What the device is given within it is a run's."""
        begin = self._clock.now()
        try:
            yield
        finally:
            self._under_way.append((run, begin, self._clock.now()))
            while self._under_way and self._clock.reached(self._under_way[0][2]):
                self._blocks.append(self._read(*self._under_way.popleft()))

    def seconds(self, run: Hashable) -> float:
        """A run's part until now; the device has to have done all that is the run's."""
        begun = (block for block in self._under_way if self._clock.reached(block[1]))
        return shared_out([*self._blocks, *(self._read(*block) for block in begun)]).get(run, 0.0)

    def _read(self, run: Hashable, begin: Any, end: Any) -> Block:
        reached = self._clock.reached(end)
        return Block(run, self._clock.seconds(self._first, begin), self._clock.seconds(self._first, end) if reached else None)


def shared_out(blocks: Iterable[Block]) -> Mapping[Hashable, float]:
    """Seconds by run, of the runs whose blocks have all ended: an equal part of each moment in which one of its blocks is at work."""
    edges: list[tuple[float, int, Hashable]] = []
    for block in blocks:
        edges.append((block.begin, 1, block.run))
        if block.end is not None:
            edges.append((block.end, -1, block.run))
    seconds: dict[Hashable, float] = defaultdict(float)
    working, part, before = 0, 0.0, 0.0  # part: of one run that had worked from the first moment on
    for moment, change, run in sorted(edges, key=lambda edge: edge[:2]):
        if working:
            part += (moment - before) / working
        before = moment
        working += change
        seconds[run] -= change * part
    return seconds
