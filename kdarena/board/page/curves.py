"""Learning curves: the terms of the loss and the metrics that the runs of a row recorded while they trained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from kdarena.board.cells import Row, name_of
from kdarena.board.page.plot import COLOURS, Figure, Trace, axis, band, label
from kdarena.board.page.recorded import Curve, Recorded
from kdarena.plan.spec import COMPLETE

MOST_POINTS = 60
"""Points of a drawn curve."""
MOST_TERMS = 8
"""Curves of a figure."""


def learning_curves(row: Row, recorded: Recorded, seeds: int) -> Figure | None:
    """The curves of a row, each the mean over its first seeds with their range; None where none are recorded.

    Args:
        seeds: whose files are read.
    """
    runs = [run for run in recorded.runs_of(row) if run.result.status in COMPLETE][:seeds]
    curves = [recorded.curves_of(run) for run in runs]
    names = list(dict.fromkeys(name for by_name in curves for name in by_name if name.startswith(("train/", "validation/"))))
    # what validation says comes first: a method may have many terms
    names = sorted(names, key=lambda name: not name.startswith("validation/"))
    traces: list[Trace] = []
    for number, name in enumerate(names[:MOST_TERMS]):
        traces += _traces(name, [by_name[name] for by_name in curves if name in by_name], number)
    if not traces:
        return None
    left_out = f" {len(names) - MOST_TERMS} further curves are in the record." if len(names) > MOST_TERMS else ""
    return Figure(
        "curves",
        f"Learning curves of {name_of(row)}",
        f"Mean over {len(runs)} of {row['seeds']} seeds, and their range. Left: terms of the loss, as they are weighted; right: metrics on validation.{left_out}",
        f"Curves of {name_of(row)}: {', '.join(names[:MOST_TERMS])}.",
        traces,
        {
            "xaxis": axis("step", rangemode="tozero"),
            "yaxis": axis("terms of the loss"),
            "yaxis2": axis("metrics on validation", overlaying="y", side="right", showgrid=False),
            "showlegend": True,
        },
        360,
    )


def _traces(name: str, curves: Sequence[Curve], number: int) -> list[Trace]:
    """A band and a line of one quantity."""
    steps, means, lows, highs = over_seeds(curves)
    colour, side = f"@line{number % COLOURS}", {"yaxis": "y2"} if name.startswith("validation/") else {}
    line: Trace = {
        "type": "scatter",
        "mode": "lines+markers" if len(steps) < 12 else "lines",
        "name": label(name),
        "x": steps,
        "y": means,
        "line": {"color": colour, **({"dash": "dash"} if side else {})},
        **side,
    }
    return [{**band(steps, lows, highs, colour), **side}, line] if len(curves) > 1 and len(steps) > 1 else [line]


def over_seeds(curves: Sequence[Curve]) -> tuple[list[int], list[float], list[float], list[float]]:
    """Steps that all curves share, at most :data:`MOST_POINTS` of them, with mean, lowest and highest value; a value that is not finite leaves its step out."""
    values: list[Mapping[int, float]] = [{step: value for step, value in curve if math.isfinite(value)} for curve in curves]
    shared = sorted(set.intersection(*(set(by_step) for by_step in values))) if values else []
    if len(shared) > MOST_POINTS:
        shared = [shared[round(place * (len(shared) - 1) / (MOST_POINTS - 1))] for place in range(MOST_POINTS)]
    columns = [[by_step[step] for by_step in values] for step in shared]
    return shared, [sum(column) / len(column) for column in columns], [min(column) for column in columns], [max(column) for column in columns]
