"""What a command's device time went into: how much of it was training."""

from __future__ import annotations

from dataclasses import dataclass

from kdarena.engines.engine import Result
from kdarena.plan.cost import CostProfile
from kdarena.plan.estimate import spoken

LEAST = 0.005
"""Part of the device time below which something is not named."""


@dataclass
class DeviceShare:
    """Device seconds of what a command did, of all its workers together.

    Attributes:
        training: of runs, trials and teachers, the filling in of teachers' outputs included.
        scoring: of networks that were built and evaluated, learning curves included.
        profiles: of measuring what steps cost.
    """

    training: float = 0.0
    scoring: float = 0.0
    profiles: float = 0.0

    def add(self, result: Result) -> None:
        """Count what a job took."""
        if isinstance(result, CostProfile):
            self.profiles += result.seconds
            return
        self.training += result.spent_s
        self.scoring += sum(result.system.get(name, 0.0) for name in ("build_s", "evaluation_s", "curve_s"))

    def sentence(self, seconds: float, workers: int) -> str:
        """Of a command that took so many seconds with so many workers, or more where runs overlapped on a device."""
        counted = self.training + self.scoring + self.profiles
        whole = max(seconds * workers, counted)
        shares = {
            "step costs": self.profiles,
            "building and scoring": self.scoring,
            "starting, recording and waiting": whole - counted,
        }
        others = ", ".join(f"{name} {100 * share / whole:.0f} %" for name, share in shares.items() if share >= LEAST * whole)
        return f"device time {spoken(whole)}: training {100 * self.training / whole:.0f} %{f', {others}' if others else ''}"
