"""A sweep: one parameter of one method over several values, as a frame and a curve.

Its runs are recorded as controls and are never on a leaderboard, where a swept value would be a choice that nobody made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from kdarena.board.reference_rows import further_json
from kdarena.board.statistics import mean_interval, paired_difference
from kdarena.board.variants import Variant
from kdarena.method.plugin import Plugin
from kdarena.method.student import Student
from kdarena.params import Value, tunables
from kdarena.plan.assignments import parse_assignment
from kdarena.plan.request import SWEPT
from kdarena.plan.spec import COMPLETE
from kdarena.record.recorded import RecordedRun


@dataclass(frozen=True)
class Sweep:
    """What is swept: ``METHOD.NAME=a,b,c``.

    Attributes:
        default: of the parameter, which a run's spec leaves out.
    """

    method: str
    parameter: str
    values: tuple[Value, ...]
    default: Value

    @property
    def title(self) -> str:
        """As it was typed, without the values."""
        return f"{self.method}.{self.parameter}"


def parse_sweep(text: str, plugins: Sequence[Plugin]) -> Sweep:
    """Read ``METHOD.NAME=a,b,c``.

    Raises:
        UserError: the form is wrong, or method, name or a value is unknown.
    """
    form = "METHOD.NAME=a,b,c, as soft-randomization.sigma=0.01,0.05,0.1"
    assignment = parse_assignment(text, plugins, what="sweep", form=form, several=True)
    default = next(tunables(plugin.method.Params)[assignment.parameter].default for plugin in plugins if plugin.method and plugin.name == assignment.method)
    return Sweep(assignment.method, assignment.parameter, tuple(dict.fromkeys(assignment.values)), default)


def runs_by_value(sweep: Sweep, runs: Iterable[RecordedRun]) -> dict[Value, dict[int, RecordedRun]]:
    """The swept method's runs of one command by value and seed."""
    by_value: dict[Value, dict[int, RecordedRun]] = {}
    for run in runs:
        if run.setting == SWEPT and run.spec.method == sweep.method:
            by_value.setdefault(run.spec.params.get(sweep.parameter, sweep.default), {})[run.spec.seed] = run
    return by_value


def student_scores(runs: Iterable[RecordedRun], metric: str) -> dict[int, float]:
    """The metric of the plain student's final runs of one command by seed."""
    finals = [run for run in runs if run.spec.purpose == "final" and run.spec.method == Student.method.name]
    return {run.spec.seed: run.result.metrics[metric] for run in finals if metric in run.result.metrics}


def sweep_frame(sweep: Sweep, by_value: Mapping[Value, Mapping[int, RecordedRun]], student: Mapping[int, float], metric: str) -> pd.DataFrame:
    """One row a value: mean and t interval over seeds, difference to the student by seed, and every further metric's mean.

    Args:
        by_value: the runs of each value by seed.
        student: the student's metric by seed, at the same budget.
    """
    rows: list[dict[str, Any]] = []
    for value in sweep.values:
        runs = by_value.get(value, {})
        variant = Variant(runs, tuned=False)
        scores = variant.values(f"test/{metric}") if runs else {}
        interval = mean_interval(list(scores.values()))
        difference = paired_difference(scores, student)
        rows.append(
            {
                "method": sweep.method,
                "parameter": sweep.parameter,
                "value": value,
                "metric": metric,
                "mean": interval and interval.mean,
                "ci_low": interval and interval.low,
                "ci_high": interval and interval.high,
                "delta_student": difference and difference.mean,
                "seeds": interval.count if interval else 0,
                "steps": runs[min(runs)].result.steps if runs else None,
                "status": variant.status(frozenset(runs)) if runs else "missing",
                "further_json": further_json(variant, (metric,)) if runs else None,
                "run_ids": [runs[seed].run_id for seed in sorted(runs) if runs[seed].result.status in COMPLETE],
            }
        )
    return pd.DataFrame(rows, dtype=object)  # of plain objects, so that what is missing stays None


def draw(frame: pd.DataFrame, further: Mapping[str, Sequence[float | None]], student: float | None, path: Path) -> None:
    """The curve as an SVG file: the metric with its intervals over the values, and every further series in a panel of its own."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = [name for name, series in further.items() if any(value is not None for value in series)]
    figure, axes = pyplot.subplots(1, 1 + len(panels), figsize=(4.5 * (1 + len(panels)), 3.4), squeeze=False)
    places = range(len(frame))
    first = frame.iloc[0]
    means = [float(mean) if mean is not None else float("nan") for mean in frame["mean"]]
    spread = [(high - mean) if high is not None else 0.0 for high, mean in zip(frame["ci_high"], means, strict=True)]
    axes[0][0].errorbar(places, means, yerr=spread, marker="o", capsize=3)
    if student is not None:
        axes[0][0].axhline(student, linestyle=":", color="grey", label="student alone")
        axes[0][0].legend()
    axes[0][0].set_ylabel(f"test {first['metric']}")
    for axis, name in zip(axes[0][1:], panels, strict=True):
        axis.plot(places, [float("nan") if value is None else value for value in further[name]], marker="o")
        axis.set_ylabel(name)
    for axis in axes[0]:
        axis.set_xticks(list(places), [str(value) for value in frame["value"]])
        axis.set_xlabel(f"{first['method']}.{first['parameter']}")
    figure.tight_layout()
    figure.savefig(path, format="svg")
    pyplot.close(figure)
