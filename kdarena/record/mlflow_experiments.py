"""The experiments in MLflow: one a task."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kdarena.record.output import safe_name

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

PREFIX = "kdarena/"
"""Of the names of experiments."""
NOTE = (
    "One run a method and setting, with the means over its seeds, and below it one run a seed. To compare methods, choose the upper ones "
    "(tags.`kdarena.role` = 'method') and their charts of test metrics. The page of the boards, with intervals and tests, is an artifact of its own run."
)
"""What MLflow shows above the runs of an experiment."""
TAGS = {"mlflow.note.content": NOTE, "mlflow.experimentKind": "custom_model_development"}
"""Of an experiment. By its kind MLflow opens the table and the charts of its runs, not its pages for language models."""


class Experiments:
    """The experiments of a store, by task.

    Args:
        client: of the store.
        artifacts: where an output directory keeps the artifacts of its own database; None: where the store decides.
    """

    def __init__(self, client: MlflowClient, artifacts: Path | None):
        self._client = client
        self._artifacts = artifacts
        self._known: dict[str, str] = {}

    def of(self, task: str) -> str:
        """The id of a task's experiment, which is made where it is missing and restored where a user removed it."""
        if task not in self._known:
            name = PREFIX + safe_name(task, also=":")
            known = self._client.get_experiment_by_name(name)
            if known is None:
                place = (self._artifacts / safe_name(task)).as_uri() if self._artifacts is not None else None
                self._known[task] = self._client.create_experiment(name, artifact_location=place, tags=TAGS)
            else:
                if known.lifecycle_stage != "active":
                    self._client.restore_experiment(known.experiment_id)
                self._known[task] = known.experiment_id
        return self._known[task]
