"""Who takes a run's device time: its charged steps, the harness, or a method's hooks outside of what it is charged for."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from kdarena.tracks.measure import DeviceClock

CHARGED = ("loss", "process")
"""Hooks whose time is that of charged steps."""
HARNESS, REPORT = "harness", "report"
"""What is never charged: loading data, comparing weights, evaluation; what a method measures of itself once it is scored."""
ELSEWHERE = "elsewhere"
"""Between hooks: what a method left at work, and what it does where its objects are dropped."""
LEAST = 1e-4
"""Seconds below which a hook is left out."""


LONG_AGO = 200
"""Intervals after which a GPU has surely come to the end of the first of them, so that to read it waits for nothing."""


class HookClock:
    """Device time from when this is made, shared out among hooks without a gap: each second belongs to the innermost section, or to :data:`ELSEWHERE`."""

    def __init__(self, device: torch.device):
        self._clock = DeviceClock(device)
        self._sections = [ELSEWHERE]
        self._seconds: dict[str, float] = defaultdict(float)
        self._intervals: deque[tuple[str, Any, Any]] = deque()
        self._since = self._clock.now()

    @contextmanager
    def of(self, section: str) -> Iterator[None]:
        """Time within it belongs to a hook, to :data:`HARNESS` or to :data:`REPORT`."""
        self._lap()
        self._sections.append(section)
        try:
            yield
        finally:
            self._lap()
            self._sections.pop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time within it belongs to none: another run has its turn."""
        self._lap()
        try:
            yield
        finally:
            self._since = self._clock.now()

    def outside(self, plain: Mapping[str, float] | None = None) -> dict[str, float]:
        """Device seconds by hook outside charged steps and the harness, less what the plain student takes in the same hooks."""
        self._lap()
        self._read(keep=0)
        free = {hook: seconds - (plain or {}).get(hook, 0.0) for hook, seconds in self._seconds.items() if hook not in (*CHARGED, HARNESS, REPORT)}
        return {hook: round(seconds, 6) for hook, seconds in sorted(free.items()) if seconds > LEAST}

    def _lap(self) -> None:
        now = self._clock.now()
        self._intervals.append((self._sections[-1], self._since, now))
        self._since = now
        self._read(keep=LONG_AGO)

    def _read(self, keep: int) -> None:
        """Add what the intervals took, but for so many of the latest."""
        while len(self._intervals) > keep:
            section, begin, end = self._intervals.popleft()
            self._seconds[section] += self._clock.seconds(begin, end)
