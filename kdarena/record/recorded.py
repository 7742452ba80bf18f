"""A recorded run as a value, and its way into MLflow's tags, parameters and metrics and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kdarena.errors import UserError
from kdarena.plan.spec import RunResult, RunSpec
from kdarena.record import mlflow as mlflow_store
from kdarena.record.mlflow import from_json_tags, json_tags, safe_text

if TYPE_CHECKING:
    from mlflow.entities import Run


@dataclass(frozen=True)
class RecordedRun:
    """A run as recorded.

    Attributes:
        run_id: MLflow's name of it.
        key: of its spec.
        spec: what was to be trained.
        result: what came of it, without curves (see :meth:`kdarena.record.runs.Record.curves`).
        setting: ``default``, ``tuned``, ``trial``, ``teacher``, ``ladder:0.5`` …
        facts: further facts that the arena knows: ``track`` and ``metric`` of the task; ``budget``, the amount of the final
            budget that a trial tunes for, or of which a run's teachers have taken a part (``--charge-teacher``).
        started: when it was recorded, less its measured training time.
    """

    run_id: str
    key: str
    spec: RunSpec
    result: RunResult
    setting: str
    facts: Mapping[str, str]
    started: datetime


def to_tags(spec: RunSpec, result: RunResult, setting: str, facts: Mapping[str, str]) -> dict[str, str]:
    """Everything that :func:`from_run` reads, and what people search by. The curves stand in the artifacts."""
    plain = result.to_json()
    del plain["curves"]
    environment = list(result.environment.items())[: mlflow_store.MOST_TAGS]
    return {
        "kdarena.key": spec.key,
        "kdarena.setting": safe_text(setting),
        "kdarena.status": result.status,
        "kdarena.purpose": spec.purpose,
        **json_tags("kdarena.spec", spec.to_json()),
        **json_tags("kdarena.result", plain),
        **json_tags("kdarena.facts", dict(facts)),
        **{f"environment.{mlflow_store.safe_key(name)}": safe_text(value) for name, value in environment},
    }


def to_metrics(result: RunResult) -> dict[str, float]:
    """The final values of a run by name."""
    spent = ("committed", "spent_s", "steps", "samples", "flops", "parameters")
    return {
        **result.metrics,
        **{f"budget/{name}": getattr(result, name) for name in spent},
        **{f"system/{name}": value for name, value in result.system.items()},
    }


def to_params(spec: RunSpec, setting: str) -> dict[str, object]:
    """What MLflow's tables and charts sort runs by."""
    plain = ("task", "method", "source", "purpose", "seed", "protocol", "data", "precision", "device", "threads")
    return {
        **{name: getattr(spec, name) for name in plain},
        "setting": setting,
        "budget": spec.budget.amount,
        "unit": spec.budget.unit,
        "teachers": len(spec.teachers),
        **{f"param.{name}": value for name, value in spec.params.items()},
        **{f"recipe.{name}": value for name, value in spec.recipe.items()},
    }


def from_run(run: Run) -> RecordedRun:
    """The inverse of :func:`to_tags`.

    Raises:
        UserError: the tags were changed by hand and can't be read.
    """
    tags = run.data.tags
    try:
        spec = RunSpec.from_json(from_json_tags("kdarena.spec", tags))
        result = RunResult.from_json({**from_json_tags("kdarena.result", tags), "curves": {}})
        facts = from_json_tags("kdarena.facts", tags)
        started = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
        return RecordedRun(run.info.run_id, tags["kdarena.key"], spec, result, tags["kdarena.setting"], facts, started)
    except (KeyError, TypeError, ValueError) as error:
        problem = f"run {run.info.run_id}: its tags can't be read ({type(error).__name__}: {error})"
        raise UserError(f"{problem}; delete the run (kdarena ui), and the same command trains it again") from error
