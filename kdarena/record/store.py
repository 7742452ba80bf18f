"""What a repeated command has to know again: cost profiles, what was chosen for it, audits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kdarena.plan.cost import CostProfile
from kdarena.record import checked

if TYPE_CHECKING:
    from kdarena.plan.allocation import Allocation

FOLDERS = ("profiles", "plans", "audits")
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
        from kdarena.plan.allocation import Allocation  # brings torch, which a board that reads the audits does without

        return self._read(Allocation, "plans", key)

    def keep_allocation(self, key: str, choice: Allocation) -> None:
        """Record what was chosen for a command."""
        self._write("plans", key, dataclasses.asdict(choice))

    def audits(self) -> dict[tuple[str, str], float]:
        """Step cost measured again over step cost profiled, by the board's key and the row's name."""
        return {(board, method): ratio for board, methods in self._audits().items() for method, ratio in methods.items()}

    def keep_audits(self, board: str, ratios: Mapping[str, float]) -> None:
        """Record a board's audits, over older ones."""
        values = self._audits()
        self._write("audits", "audits", {**values, board: {**values.get(board, {}), **ratios}})

    def _audits(self) -> dict[str, dict[str, float]]:
        return self._read(dict[str, dict[str, float]], "audits", "audits") or {}

    def _read(self, kind: type[_T], folder: str, key: str) -> _T | None:
        return checked.read(kind, self._path(folder, key))

    def _write(self, folder: str, key: str, values: Any) -> None:
        checked.write(self._path(folder, key), values)

    def _path(self, folder: str, key: str) -> Path:
        return self._directory / folder / f"{key}.json"
