"""A recorded run as MLflow's tags, parameters and metrics."""

from __future__ import annotations

from kdarena.plan.spec import RunResult, RunSpec
from kdarena.record.mlflow_store import MOST_TAGS, json_tags, safe_key, safe_text
from kdarena.record.output import safe_name
from kdarena.record.recorded import RecordedRun


def to_tags(run: RecordedRun) -> dict[str, str]:
    """What people search by, and the whole run but its curves, which are artifacts."""
    plain = run.result.to_json()
    del plain["curves"]
    environment = list(run.result.environment.items())[:MOST_TAGS]
    return {
        "kdarena.key": run.key,
        "kdarena.method": safe_name(run.spec.method),
        "kdarena.setting": safe_text(run.setting),
        "kdarena.status": run.result.status,
        "kdarena.purpose": run.spec.purpose,
        **json_tags("kdarena.spec", run.spec.to_json()),
        **json_tags("kdarena.result", plain),
        **json_tags("kdarena.facts", dict(run.facts)),
        **{f"environment.{safe_key(name)}": safe_text(value) for name, value in environment},
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
