"""Small facts beside the record that a repeated command has to find as they were: calibrations and what was chosen."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdarena.calibrate import Calibration
from kdarena.choose import Choice


class Store:
    """JSON files under the output directory, each written whole or not at all."""

    def __init__(self, directory: Path):
        self._directory = directory

    def calibration(self, key: str) -> Calibration | None:
        """A recorded calibration."""
        values = self._read("calibrations", key)
        return None if values is None else Calibration.from_json(values)

    def keep_calibration(self, calibration: Calibration) -> None:
        """Record a calibration; a failed one is not kept, since its cause may be mended."""
        if calibration.status == "done":
            self._write("calibrations", calibration.key, dataclasses.asdict(calibration))

    def choice(self, key: str) -> Choice | None:
        """What was chosen for a command."""
        values = self._read("plans", key)
        return None if values is None else Choice(**{**values, "notes": tuple(values["notes"])})

    def keep_choice(self, key: str, choice: Choice) -> None:
        """Record what was chosen for a command."""
        self._write("plans", key, dataclasses.asdict(choice))

    def calibrations(self) -> list[Calibration]:
        """All recorded calibrations."""
        folder = self._directory / "calibrations"
        return [Calibration.from_json(json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))]

    def audits(self) -> dict[tuple[str, str], float]:
        """Step cost measured again over step cost calibrated, by the board's key and method."""
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
