"""A recorded run as a value, and as the text of its file.

A file is ``{"checksum": …, "recorded": …, "run": {…}}``: the run whole, when it was recorded (nanoseconds since 1970, which
orders the runs), and a checksum of both, which shows whether the file was changed by hand.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kdarena.plan.plain import from_plain
from kdarena.plan.spec import RunResult, RunSpec
from kdarena.record.checked import checksum, dumped


@dataclass(frozen=True)
class RecordedRun:
    """A run as recorded.

    Attributes:
        run_id: 32 hexadecimal digits.
        key: of its spec.
        spec: what was to be trained.
        result: what came of it, without curves (see :meth:`kdarena.record.runs.Record.curves`).
        setting: ``default``, ``tuned``, ``trial``, ``teacher``, ``ladder:0.5`` …
        facts: further facts that the arena knows: ``track`` and ``metric`` of the task; ``budget``, the amount of the final
            budget that a trial tunes for, or of which a run's teachers have taken a part (``--charge-teacher``); ``named``, what the
            user fixed of the method; ``tuning``, the amount that it was tuned with; ``untuned``, why its defaults are kept where others are tuned.
        started: when it was recorded, less its measured training time.
    """

    run_id: str
    key: str
    spec: RunSpec
    result: RunResult
    setting: str
    facts: Mapping[str, str]
    started: datetime


@dataclass(frozen=True)
class Document:
    """The contents of a run's file.

    Attributes:
        recorded: nanoseconds since 1970.
        run: the run as plain JSON values, curves and all.
    """

    recorded: int
    run: Mapping[str, Any]

    @staticmethod
    def of(run: RecordedRun, recorded: int) -> Document:
        """A run as it is written."""
        return Document(recorded, {**dataclasses.asdict(run), "started": run.started.isoformat()})

    def text(self) -> str:
        """As the text of a file."""
        body = dumped({"recorded": self.recorded, "run": self.run})
        return f'{{"checksum":"{checksum(body)}",{body[1:]}\n'

    @staticmethod
    def parse(text: str) -> Document:
        """The inverse of :meth:`text`; white space between values does not matter.

        Raises:
            ValueError: it is not whole, or was changed.
        """
        values = json.loads(text)
        if not isinstance(values, dict) or {"checksum", "recorded", "run"} != values.keys():
            raise ValueError("it is no recorded run")
        stated = values.pop("checksum")
        if stated != checksum(dumped(values)):
            raise ValueError("it was changed after it was recorded")
        return Document(values["recorded"], values["run"])

    def without_curves(self) -> dict[str, Any]:
        """The run as plain values without its curves, which few readers need."""
        return {**self.run, "result": {**self.run["result"], "curves": {}}}


def run_of(values: Mapping[str, Any]) -> RecordedRun:
    """A run from plain values; raises ``ValueError`` with the name of a field that can't be read."""
    spec = values.get("spec")
    if isinstance(spec, dict) and "prune" in spec:  # of a version whose trials could end early
        values = {**values, "spec": {name: value for name, value in spec.items() if name != "prune"}}
    return from_plain(RecordedRun, values)
