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
    """What happened to a job: its result, that it has to be run again, or else its progress in [0, 1].

    Attributes:
        again: why a run that had others at its side has to be run again, alone: what happened may have been the doing of any of them.
    """

    spec: Spec
    result: Result | None = None
    progress: float = 0.0
    again: str | None = None


class Engine(Protocol):
    """Executes jobs on several workers at once.

    Attributes:
        capacity: number of workers.
    """

    capacity: int

    def submit(self, *specs: Spec) -> None:
        """Start a job on a worker, or several runs of one task side by side; fewer than ``capacity`` workers may be at work."""

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


def answer_from(jobs: Mapping[str, Spec], line: bytes) -> tuple[list[Event], bool]:
    """A line of a worker as events, and whether the worker takes no other job.

    Args:
        jobs: that the worker has, by their keys.

    Raises:
        ValueError: it is no answer, or that of another job; says which.
    """
    try:
        message = json.loads(line)
        last = bool(message.get("last"))
        if "again" in message:
            return [Event(spec, again=str(message["again"])) for spec in jobs.values()], last
        if "progress" in message:
            known = jobs.get(message["key"])
            return [Event(known, progress=float(message["progress"]))] if known is not None else [], last
        values = message["result"]
        spec = jobs.get(values["key"])
        result: Result = from_plain(CostProfile, values) if isinstance(spec, ProfileSpec) else from_plain(RunResult, values)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{line[:60]!r} is no answer of a worker ({described(error)})") from None
    if spec is None:
        raise ValueError(f"it is the result of another job, {result.key}")
    return [Event(spec, result=result)], last


def failed(spec: Spec, status: Status, error: str) -> Result:
    """The result of a job whose worker did not survive it."""
    if isinstance(spec, RunSpec):
        return RunResult(key=spec.key, status=status, error=error)
    return CostProfile(spec.key, (), 0, None, 0.0, 0.0, 0, status=status, error=error)
