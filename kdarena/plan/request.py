"""What the user asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from kdarena.params import Value
from kdarena.plan.budget import Amount


@dataclass(frozen=True)
class Request:
    """What the user asked for, as typed but checked; everything a plan depends on.

    ``swept`` names the method whose parameter is swept: its runs are controls, which never stand on a leaderboard.
    """

    plugins: str = "all"
    tasks: str = "all"
    budget: Amount | None = None
    tuning_budget: Amount | None = None
    teacher_budget: Amount | None = None
    seeds: int | None = None
    total: float | None = None
    device: str = "auto"
    workers: int | None = None
    precision: str = "auto"
    params: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    protocol: Literal["validated", "published"] = "validated"
    data_root: str | None = None
    teacher_checkpoint: str | None = None
    plugin_paths: tuple[str, ...] = ()
    charge_teacher: bool = False
    metrics: tuple[str, ...] = ()
    swept: str | None = None
    out: Path = Path("kdarena-out")
