"""The parent runs in MLflow: one a method and setting, whose children are its seeds, with the means of their final values.

Means are written at the end of a command, of the parents that got children: MLflow's tables and charts then compare methods, not seeds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kdarena.plan.request import SWEPT
from kdarena.plan.spec import COMPLETE, Budget, digest
from kdarena.record import mlflow_store as store
from kdarena.record.mlflow_experiments import Experiments
from kdarena.record.mlflow_values import to_metrics, to_params
from kdarena.record.output import safe_name
from kdarena.record.recorded import RecordedRun

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

FAMILY = "kdarena.family"
"""Tag with the key of a parent's family."""
ALL = "all"
"""In place of the keys of families: every one."""
_NAMES = " :=,"
"""Characters of a run's name in MLflow in addition to those of a file's name."""


@dataclass(frozen=True)
class Family:
    """Runs that have a parent in common: they differ in their seed alone; trials in their setting too, runs along a ladder in their budget. All teachers of
    a task have one parent, and all methods that do not apply to it.

    Attributes:
        key: 16 hexadecimal digits.
        name: of the parent.
        summed: whether a mean over its runs says something of the method.
    """

    key: str
    name: str
    summed: bool


def family(run: RecordedRun) -> Family:
    """The family of a run."""
    spec = replace(run.spec, seed=0)
    if spec.purpose in ("teacher", "given"):
        return Family(digest(["teachers", spec.task, spec.data, spec.code]), "teachers", False)
    if run.result.status == "skipped":
        return Family(digest(["skipped", spec.task, spec.data, spec.code]), "does not apply", False)
    if spec.purpose == "tune":
        return Family(digest(replace(spec, params={}, recipe={}, reference=None)), f"{spec.method} trials", False)
    if spec.purpose == "control" and run.setting != SWEPT:
        return Family(digest(replace(spec, budget=Budget(0.0, spec.budget.unit), costs=())), f"{spec.method} ladder", False)
    return Family(digest(spec), _with_setting(run), True)


def _with_setting(run: RecordedRun) -> str:
    """A method with what was fixed of it, or ``tuned`` where a tuner chose."""
    if run.setting == "tuned":
        return f"{run.spec.method} tuned"
    fixed = ", ".join(f"{name}={value}" for name, value in {**run.spec.params, **run.spec.recipe}.items())
    return f"{run.spec.method} {fixed}".strip()


def name_of_run(run: RecordedRun, own: Family) -> str:
    """What MLflow's tables call a run, as ``kd seed 0`` or ``student ladder:0.5 seed 0``."""
    named = own.name if own.summed else f"{run.spec.method} {run.setting}"
    if run.spec.trains is not None:
        named = f"teacher {run.spec.trains.architecture}"
    return safe_name(f"{named} seed {run.spec.seed}", also=_NAMES)


def means(runs: Iterable[RecordedRun]) -> dict[str, float]:
    """The final values of the runs that are done, each the mean over those that have it, and how many are done."""
    finished = [to_metrics(run.result) for run in runs if run.result.status in COMPLETE]
    names = dict.fromkeys(name for values in finished for name in values)
    known = {name: [values[name] for values in finished if math.isfinite(values.get(name, math.nan))] for name in names}
    return {**{name: sum(values) / len(values) for name, values in known.items() if values}, "seeds": float(len(finished))}


class Parents:
    """The parents in a store.

    Args:
        client: of the store.
        experiments: of the store.
    """

    def __init__(self, client: MlflowClient, experiments: Experiments):
        self._client = client
        self._experiments = experiments
        self._known: dict[str, dict[str, str]] = {}

    def of(self, run: RecordedRun, own: Family) -> str:
        """The id of the parent of a run and its family, which is made where it is missing."""
        task = run.spec.task
        known = self._of_task(task)
        if own.key not in known:
            params = {name: value for name, value in to_params(run.spec, run.setting).items() if own.summed and name != "seed"}
            tags = {"kdarena.role": "method", FAMILY: own.key, "kdarena.setting": store.safe_text(run.setting), "kdarena.purpose": run.spec.purpose}
            tags["kdarena.method"] = safe_name(run.spec.method)
            parent = self._client.create_run(self._experiments.of(task), run_name=safe_name(own.name, also=_NAMES), tags=tags)
            store.write_batches(self._client, parent.info.run_id, [], params)
            self._client.set_terminated(parent.info.run_id)
            known[own.key] = parent.info.run_id
        return known[own.key]

    def sum_up(self, runs: Iterable[RecordedRun], keys: Collection[str]) -> None:
        """Write the means of families to their parents.

        Args:
            runs: all of the record.
            keys: of the families, or :data:`ALL` among them.
        """
        by_family: dict[tuple[str, str], list[RecordedRun]] = {}
        for run in runs:
            if run.spec.purpose in ("final", "control") and (own := family(run)).summed and (own.key in keys or ALL in keys):
                by_family.setdefault((run.spec.task, own.key), []).append(run)
        now_ms = time.time_ns() // 1_000_000
        for (task, key), children in by_family.items():
            parent = self._of_task(task).get(key)
            if parent is not None:
                step = max(run.result.steps for run in children)
                store.write_batches(self._client, parent, store.metrics(means(children), {}, step, now_ms), {})

    def _of_task(self, task: str) -> dict[str, str]:
        """The ids of the parents of a task's experiment, by the keys of their families."""
        if task not in self._known:
            experiment = self._experiments.of(task)
            parents: Iterable[Run] = store.pages(
                lambda token: self._client.search_runs([experiment], "tags.`kdarena.role` = 'method'", max_results=500, page_token=token)
            )
            self._known[task] = {parent.data.tags[FAMILY]: parent.info.run_id for parent in parents if FAMILY in parent.data.tags}
        return self._known[task]
