"""Who takes a run's device time: its charged steps, the harness, or a method's hooks outside of what it is charged for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from kdarena.tracks.measure import Stopwatch

CHARGED = ("loss", "process")
"""Hooks whose time is that of charged steps."""
HARNESS, REPORT = "harness", "report"
"""What is never charged: loading data, comparing weights, evaluation; what a method measures of itself once it is scored."""
ELSEWHERE = "elsewhere"
"""Between hooks: what a method left at work, and what it does where its objects are dropped."""
LEAST = 1e-4
"""Seconds below which a hook is left out."""


class HookClock:
    """Device time from when this is made, shared out among hooks without a gap: each second belongs to the innermost section, or to :data:`ELSEWHERE`."""

    def __init__(self, device: torch.device):
        self._watch = Stopwatch(device)
        self._sections = [ELSEWHERE]
        self._seconds: dict[str, float] = defaultdict(float)
        self._watch.start()

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

    def outside(self, plain: Mapping[str, float] | None = None) -> dict[str, float]:
        """Device seconds by hook outside charged steps and the harness, less what the plain student takes in the same hooks."""
        self._lap()
        free = {hook: seconds - (plain or {}).get(hook, 0.0) for hook, seconds in self._seconds.items() if hook not in (*CHARGED, HARNESS, REPORT)}
        return {hook: round(seconds, 6) for hook, seconds in sorted(free.items()) if seconds > LEAST}

    def _lap(self) -> None:
        self._seconds[self._sections[-1]] += self._watch.stop()
        self._watch.start()
