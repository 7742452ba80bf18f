"""Small facts beside the record that a repeated command has to find as they were: profiles and what was chosen."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdarena.plan.allocation import Allocation
from kdarena.plan.cost import CostProfile


class Store:
    """JSON files under the output directory, each written whole or not at all."""

    def __init__(self, directory: Path):
        self._directory = directory

    def profile(self, key: str) -> CostProfile | None:
        """A recorded profile."""
        values = self._read("profiles", key)
        return None if values is None else CostProfile.from_json(values)

    def keep_profile(self, profile: CostProfile) -> None:
        """Record a profile; a failed one is not kept, since its cause may be mended."""
        if profile.status == "done":
            self._write("profiles", profile.key, dataclasses.asdict(profile))

    def allocation(self, key: str) -> Allocation | None:
        """What was chosen for a command."""
        values = self._read("plans", key)
        return None if values is None else Allocation(**{**values, "notes": tuple(values["notes"])})

    def keep_allocation(self, key: str, choice: Allocation) -> None:
        """Record what was chosen for a command."""
        self._write("plans", key, dataclasses.asdict(choice))

    def profiles(self) -> list[CostProfile]:
        """All recorded profiles."""
        folder = self._directory / "profiles"
        return [CostProfile.from_json(json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))]

    def audits(self) -> dict[tuple[str, str], float]:
        """Step cost measured again over step cost profiled, by the board's key and method."""
        values = self._read("audits", "audits") or {}
        return {(board, method): ratio for board, methods in values.items() for method, ratio in methods.items()}

    def keep_audits(self, board: str, ratios: Mapping[str, float]) -> None:
        """Record a board's audits, over older ones."""
        values = self._read("audits", "audits") or {}
        values[board] = {**values.get(board, {}), **ratios}
        self._write("audits", "audits", values)

    def _read(self, kind: str, key: str) -> Any:
        path = self._directory / kind / f"{key}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def _write(self, kind: str, key: str, values: Any) -> None:
        folder = self._directory / kind
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f".{key}.{os.getpid()}"
        draft.write_text(json.dumps(values, indent=1))
        draft.replace(folder / f"{key}.json")
