"""What an engine is, and what it exchanges with its workers: jobs and results, as lines of JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from kdarena.errors import described
from kdarena.plan.cost import CostProfile, ProfileSpec
from kdarena.plan.plain import from_plain
from kdarena.plan.spec import RunResult, RunSpec, Status

Spec = RunSpec | ProfileSpec
Result = RunResult | CostProfile


@dataclass(frozen=True)
class Event:
    """What happened to a job: its result, or its progress in [0, 1] where ``result`` is None."""

    spec: Spec
    result: Result | None = None
    progress: float = 0.0


class Engine(Protocol):
    """Executes jobs, several at once."""

    capacity: int

    def submit(self, spec: Spec) -> None:
        """Start a job; fewer than ``capacity`` may be under way."""

    def wait(self, seconds: float) -> list[Event]:
        """Events that happened since, or within so many seconds."""

    def close(self) -> None:
        """Stop all workers; what they were doing is lost."""


def to_message(spec: Spec) -> dict[str, Any]:
    """A job as JSON values."""
    kind = "run" if isinstance(spec, RunSpec) else "profile"
    return {"kind": kind, "spec": dataclasses.asdict(spec)}


def spec_from(message: Mapping[str, Any]) -> Spec:
    """The inverse of :func:`to_message`."""
    return from_plain(RunSpec, message["spec"]) if message["kind"] == "run" else from_plain(ProfileSpec, message["spec"])


def answer_from(spec: Spec, line: bytes) -> tuple[Event, bool]:
    """A line of a worker as an event, and whether the worker takes no other job.

    Raises:
        ValueError: it is no answer, or that of another job; says which.
    """
    try:
        message = json.loads(line)
        if "progress" in message:
            return Event(spec, progress=float(message["progress"])), False
        values = message["result"]
        result: Result = from_plain(RunResult, values) if isinstance(spec, RunSpec) else from_plain(CostProfile, values)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{line[:60]!r} is no answer of a worker ({described(error)})") from None
    if result.key != spec.key:
        raise ValueError(f"it is the result of another job, {result.key}")
    return Event(spec, result=result), bool(message.get("last"))


def failed(spec: Spec, status: Status, error: str) -> Result:
    """The result of a job whose worker did not survive it."""
    if isinstance(spec, RunSpec):
        return RunResult(key=spec.key, status=status, error=error)
    return CostProfile(spec.key, (), 0, None, 0.0, 0.0, 0, status=status, error=error)
