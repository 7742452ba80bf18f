"""What a repeated command has to know again: cost profiles, what was chosen for it, audits."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kdarena.errors import UserError, described
from kdarena.files import write_atomically
from kdarena.plan.cost import CostProfile
from kdarena.plan.plain import from_plain

if TYPE_CHECKING:
    from kdarena.plan.allocation import Allocation

_T = TypeVar("_T")


class Store:
    """JSON files under the output directory, each written whole or not at all."""

    def __init__(self, directory: Path):
        self._directory = directory

    def profile(self, key: str) -> CostProfile | None:
        """A recorded profile."""
        return self._value(CostProfile, "profiles", key)

    def keep_profile(self, profile: CostProfile) -> None:
        """Record a profile; a failed one is not kept, since its cause may be gone."""
        if profile.status == "done":
            self._write("profiles", profile.key, dataclasses.asdict(profile))

    def allocation(self, key: str) -> Allocation | None:
        """What was chosen for a command."""
        from kdarena.plan.allocation import Allocation  # brings torch, which a board that reads the audits does without

        return self._value(Allocation, "plans", key)

    def keep_allocation(self, key: str, choice: Allocation) -> None:
        """Record what was chosen for a command."""
        self._write("plans", key, dataclasses.asdict(choice))

    def audits(self) -> dict[tuple[str, str], float]:
        """Step cost measured again over step cost profiled, by the board's key and the row's name."""
        values = self._read("audits", "audits") or {}
        return {(board, method): ratio for board, methods in values.items() for method, ratio in methods.items()}

    def keep_audits(self, board: str, ratios: Mapping[str, float]) -> None:
        """Record a board's audits, over older ones."""
        values = self._read("audits", "audits") or {}
        values[board] = {**values.get(board, {}), **ratios}
        self._write("audits", "audits", values)

    def _value(self, kind: type[_T], folder: str, key: str) -> _T | None:
        values = self._read(folder, key)
        try:
            return None if values is None else from_plain(kind, values)
        except ValueError as error:
            raise self._unreadable(folder, key, error) from error

    def _read(self, folder: str, key: str) -> Any:
        path = self._path(folder, key)
        try:
            return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        except (OSError, ValueError) as error:
            raise self._unreadable(folder, key, error) from error

    def _write(self, folder: str, key: str, values: Any) -> None:
        path = self._path(folder, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(values, indent=1))

    def _path(self, folder: str, key: str) -> Path:
        return self._directory / folder / f"{key}.json"

    def _unreadable(self, folder: str, key: str, error: Exception) -> UserError:
        return UserError(f"{self._path(folder, key)}: can't be read ({described(error)}); delete it, and the same command makes it again")
