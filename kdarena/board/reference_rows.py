"""What a row's runs measured beyond the ranked metric, and the reference rows: further networks that a method deploys, and the teacher."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from kdarena.board.statistics import mean_interval, paired_difference
from kdarena.board.variants import Variant
from kdarena.plan.board import Board
from kdarena.record.recorded import RecordedRun

TEACHER = "teacher"
"""Method of the row of the task's reference teacher."""
DEPLOYED = "deploy:"
OWN = "method/"


def deployed(variant: Variant) -> list[str]:
    """Names of the networks that were scored in addition to the student, in the order of their recording."""
    names = [name.partition("/")[0][len(DEPLOYED) :] for run in variant.finished for name in run.result.metrics if name.startswith(DEPLOYED)]
    return list(dict.fromkeys(names))


def further_json(variant: Variant, known: Iterable[str], prefix: str = "test/") -> str | None:
    """Means over seeds of every further metric, the method's own report among them, as a JSON object; None where there is none."""
    known = {f"{prefix}{name}" for name in known}
    own = (prefix, OWN) if prefix == "test/" else (prefix,)
    names = dict.fromkeys(name for run in variant.finished for name in run.result.metrics if name.startswith(own) and name not in known)
    means = {name.removeprefix(prefix): variant.mean(name) for name in names}
    return json.dumps(means) if means else None


def reference_rows(row: Mapping[str, Any], variant: Variant, student: Variant | None, metric: str, known: Mapping[str, str]) -> list[dict[str, Any]]:
    """A row ``METHOD:NAME`` without a rank for each further deployed network: the same training, another network at its end.

    Args:
        row: of the method.
        student: to read it against, by seed.
        known: columns by the names of the metrics they hold.
    """
    rows = []
    for name in deployed(variant):
        prefix = f"{DEPLOYED}{name}/"
        values = variant.values(prefix + metric)
        interval = mean_interval(list(values.values()))
        difference = paired_difference(values, student.values(f"test/{metric}")) if student is not None else None
        params = variant.mean(prefix + "params")
        rows.append(
            {
                **row,
                "method": f"{row['method']}:{name}",
                "rank": None,
                "rank_class": None,
                "mean": interval and interval.mean,
                "ci_low": interval and interval.low,
                "ci_high": interval and interval.high,
                "delta_student": difference and difference.mean,
                "delta_student_low": difference and difference.low,
                "delta_student_high": difference and difference.high,
                **dict.fromkeys(
                    (
                        "delta_equal_updates",
                        "delta_equal_updates_low",
                        "delta_equal_updates_high",
                        "student_updates",
                        "delta_kd",
                        "delta_kd_low",
                        "delta_kd_high",
                        "detectable",
                        "seeds_needed",
                        "validation",
                        "latency_ms",
                        "tried",
                    )
                ),
                **dict.fromkeys(("mean_default", "mean_tuned", "step_cost_error", "cost_spent", "cost_spent_error")),
                **dict.fromkeys(("test_set_error", "seconds_to_student", "seconds_to_teacher", "time_curve_json", "validation_curve_json")),
                **{column: variant.mean(prefix + measured) for column, measured in known.items()},
                "params": None if params is None else int(params),
                "further_json": further_json(variant, (metric, "params", *known.values()), prefix),
                "status": "reference",
                "status_note": None,
            }
        )
    return rows


def teacher_row(board: Board, teachers: Iterable[RecordedRun], student: Variant | None, metric: str, known: Mapping[str, str]) -> dict[str, Any] | None:
    """A row without a rank for the reference teacher that the board's runs were given; None where it was neither trained nor scored here.

    It is one network, so that its own value has no interval; its difference to the student is over the student's seeds.

    Args:
        teachers: the runs that trained or scored a teacher.
        student: the student alone.
        known: columns by the names of the metrics they hold.
    """
    run = _reference_run(board, teachers, metric)
    if run is None:
        return None
    value, metrics = run.result.metrics[f"test/{metric}"], run.result.metrics
    alone = student.values(f"test/{metric}") if student is not None else {}
    difference = paired_difference(dict.fromkeys(alone, value), alone)
    return {
        "task": board.task,
        "track": run.facts.get("track"),
        "method": TEACHER,
        "metric": metric,
        "mean": value,
        "seeds": 1,
        "delta_student": difference and difference.mean,
        "delta_student_low": difference and difference.low,
        "delta_student_high": difference and difference.high,
        **({name: getattr(run.result, name) for name in ("spent_s", "steps", "samples", "flops")} if run.result.steps else {}),
        "params": run.result.parameters,
        **{column: metrics.get(f"test/{measured}") for column, measured in known.items()},
        **{
            name: getattr(board, name) for name in ("unit", "protocol", "device", "device_name", "precision", "compiled", "threads", "torch", "code", "capture")
        },
        **{name: getattr(board, name) for name in ("data", "reference")},
        "budget": board.amount,
        "views": board.views or None,
        "validation": metrics.get(f"validation/{metric}"),
        "status": "reference",
        "status_note": doubt(value, student, metric),
        "run_ids": [run.run_id],
    }


def teacher_value(board: Board, teachers: Iterable[RecordedRun], metric: str) -> float | None:
    """The reference teacher's own value of a metric on test; None where it was neither trained nor scored here."""
    run = _reference_run(board, teachers, metric)
    return None if run is None else run.result.metrics[f"test/{metric}"]


def _reference_run(board: Board, teachers: Iterable[RecordedRun], metric: str) -> RecordedRun | None:
    """The run that trained or scored the teacher that the board's runs were given."""
    return next(
        (run for run in teachers if board.reference and board.reference in (run.result.weights, run.key) and f"test/{metric}" in run.result.metrics), None
    )


def doubt(value: float, student: Variant | None, metric: str) -> str | None:
    """That a teacher is no better than the student alone, or None."""
    alone = student.mean(f"test/{metric}") if student is not None else None
    if alone is None or value > alone:
        return None
    return f"its {metric} of {value:.2f} is not above the plain student's mean of {alone:.2f}: what it can teach is in doubt"
