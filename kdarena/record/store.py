"""What a repeated command has to know again: cost profiles, the step of the plain student that they are counted in, what was chosen for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from kdarena.plan.allocation import Allocation
from kdarena.plan.cost import CostProfile, StudentStep
from kdarena.plan.race_plan import RacePlan
from kdarena.plan.racing import Selection
from kdarena.record import checked

_T = TypeVar("_T")


class Store:
    """JSON files under the output directory, each written whole or not at all; one that can't be used counts as missing, with a line."""

    def __init__(self, directory: Path):
        self._directory = directory

    def profile(self, key: str) -> CostProfile | None:
        """A recorded profile."""
        return self._read(CostProfile, "profiles", key)

    def keep_profile(self, profile: CostProfile) -> None:
        """Record a profile; a failed one is not kept, since its cause may be gone."""
        if profile.status == "done":
            self._write("profiles", profile.key, dataclasses.asdict(profile))

    def allocation(self, key: str) -> Allocation | None:
        """What was chosen for a command."""
        return self._read(Allocation, "plans", key)

    def keep_allocation(self, key: str, choice: Allocation) -> None:
        """Record what was chosen for a command."""
        self._write("plans", key, dataclasses.asdict(choice))

    def keep_total(self, family: str, total: float, key: str) -> None:
        """Record that a command (``key``) is another, but for its total time, of those that ``family`` names."""
        self._write("plans", f"{family}-totals", {**self._totals(family), repr(total): key})

    def shorter(self, family: str, total: float) -> tuple[float, Allocation] | None:
        """What the command got with the longest total time below ``total``, and that time; None where there was none, or its task was left out."""
        for known in sorted((float(text) for text in self._totals(family)), reverse=True):
            allocation = self.allocation(self._totals(family)[repr(known)]) if known < total else None
            if allocation is not None and allocation.seeds:
                return known, allocation
        return None

    def _totals(self, family: str) -> dict[str, str]:
        return self._read(dict[str, str], "plans", f"{family}-totals") or {}

    def race_plan(self, key: str) -> RacePlan | None:
        """What was chosen for a race."""
        return self._read(RacePlan, "plans", key)

    def keep_race_plan(self, key: str, plan: RacePlan) -> None:
        """Record what was chosen for a race."""
        self._write("plans", key, dataclasses.asdict(plan))

    def selections(self, key: str) -> tuple[Selection, ...]:
        """Who went on after each rung of a race so far."""
        return self._read(tuple[Selection, ...], "plans", f"{key}-rungs") or ()

    def keep_selections(self, key: str, made: Sequence[Selection]) -> None:
        """Record who went on after each rung of a race: what depended on the time that was left is not decided anew."""
        self._write("plans", f"{key}-rungs", [dataclasses.asdict(selection) for selection in made])

    def student_step(self, key: str) -> StudentStep | None:
        """What a step of the plain student takes, once that was decided."""
        return self._read(StudentStep, "student_steps", key)

    def keep_student_step(self, key: str, step: StudentStep) -> None:
        """Decide what a step of the plain student takes: a change of it would change the key of every run."""
        self._write("student_steps", key, dataclasses.asdict(step))

    def _read(self, kind: type[_T], folder: str, key: str) -> _T | None:
        return checked.read(kind, self._path(folder, key))

    def _write(self, folder: str, key: str, values: Any) -> None:
        checked.write(self._path(folder, key), values)

    def _path(self, folder: str, key: str) -> Path:
        return self._directory / folder / f"{key}.json"
