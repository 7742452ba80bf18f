"""Frames from the record: every run, one row each, and what boards and runs have in common."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from kdarena.record.recorded import RecordedRun

if TYPE_CHECKING:
    from kdarena.record.runs import Record
    from kdarena.tracks.card import TaskCard


def names(text: str) -> tuple[str, ...]:
    """Columns as they are listed, parted by white space."""
    return tuple(text.split())


RUN_COLUMNS = names("""
    run_id key task method purpose seed status metric value budget unit committed spent_s steps samples flops params_json error
    setting split track recipe_json device precision threads protocol data source started
""")


def runs_frame(record: Record, cards: Mapping[str, TaskCard] | None = None) -> pd.DataFrame:
    """Every recorded run, one row each; a value that does not apply is None.

    Args:
        record: where the runs are.
        cards: the known tasks by name, for their track and metric.
    """
    recorded = record.runs()
    rows = [_run_row(run, metric_of(run.spec.task, [run], cards or {}), track_of(run.spec.task, [run], cards or {})) for run in recorded]
    return frame_of(rows, RUN_COLUMNS)


def _run_row(run: RecordedRun, metric: str | None, track: str | None) -> dict[str, Any]:
    spec, result = run.spec, run.result
    split = next((part for part in ("test", "validation") if f"{part}/{metric}" in result.metrics), None)
    return {
        "run_id": run.run_id,
        "key": run.key,
        "metric": metric,
        "value": result.metrics[f"{split}/{metric}"] if split else None,
        "split": split,
        "track": track,
        "budget": spec.budget.amount,
        "unit": spec.budget.unit,
        "params_json": json.dumps(dict(spec.params), sort_keys=True),
        "recipe_json": json.dumps(dict(spec.recipe), sort_keys=True),
        "setting": run.setting,
        "started": run.started.isoformat(),
        **{name: getattr(spec, name) for name in ("task", "method", "purpose", "seed", "device", "precision", "threads", "protocol", "data", "source")},
        **{name: getattr(result, name) for name in ("status", "committed", "spent_s", "steps", "samples", "flops", "error")},
    }


def metric_of(task: str, runs: Iterable[RecordedRun], cards: Mapping[str, TaskCard]) -> Any:
    """The ranked metric: as the task's card or a run's facts say, else the first that was measured; None of failures alone."""
    if task in cards:
        return cards[task].metric
    runs = list(runs)
    stated = [run.facts["metric"] for run in runs if "metric" in run.facts]
    measured = [name.partition("/")[2] for run in runs for name in run.result.metrics if name.startswith(("test/", "validation/"))]
    return next(iter([*stated, *measured]), None)


def track_of(task: str, runs: Iterable[RecordedRun], cards: Mapping[str, TaskCard]) -> str | None:
    """As the task's card or a run's facts say."""
    if task in cards:
        return cards[task].track
    return next((run.facts["track"] for run in runs if "track" in run.facts), None)


def frame_of(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """A frame of plain objects, so that what is missing stays None and whole numbers stay whole."""
    return pd.DataFrame([[row.get(name) for name in columns] for row in rows], columns=list(columns), dtype=object)
