"""What the runs of a board spent their time on, and whether a step cost what it was said to."""

from __future__ import annotations

from collections.abc import Sequence

from kdarena.board.cells import Row, name_of
from kdarena.board.page.plot import Figure, Trace, axis, height_of, label, line_at, names_axis
from kdarena.board.page.recorded import Recorded
from kdarena.board.variants import mean_of
from kdarena.plan.spec import COMPLETE
from kdarena.record.recorded import RecordedRun

PARTS = (
    ("steps, the student's part", "@line0"),
    ("steps, the rest", "@line1"),
    ("building", "@line2"),
    ("evaluation", "@line3"),
    ("waiting and other", "@muted"),
)
"""The parts of a run's time, each with its colour."""

OFF = 0.05
"""Part by which the cost of a step may differ from its price before the text of the figure names the row."""


def split(row: Row, runs: Sequence[RecordedRun]) -> tuple[float | None, ...]:
    """Mean seconds of a row's runs, in the order of :data:`PARTS`; None for what was not recorded.

    A worker measures the steps together: what a step costs over the plain student's tells its share from that of teacher, helpers and losses.
    """
    finished = [run for run in runs if run.result.status in COMPLETE and run.result.steps]
    spent = mean_of(finished, lambda run: run.result.spent_s)
    cost = row["cost_spent"] or row["step_cost"]
    if spent is None:
        return (None,) * len(PARTS)
    build, evaluation, total = (_measured(finished, name) for name in ("build_s", "evaluation_s", "total_s"))
    student = spent / max(cost, 1.0) if cost else None
    rest = None if build is None or evaluation is None or total is None else max(total - spent - build - evaluation, 0.0)
    return student, spent - student if student is not None else None, build, evaluation, rest


def _measured(runs: Sequence[RecordedRun], name: str) -> float | None:
    """Mean over runs of what a worker measured."""
    return mean_of(runs, lambda run: run.result.system.get(name))


def cost_split(rows: Sequence[Row], recorded: Recorded) -> Figure | None:
    """Seconds of a run by what they went to."""
    parts = {label(name_of(row)): split(row, recorded.runs_of(row)) for row in rows if row["status"] != "reference"}
    parts = {name: seconds for name, seconds in parts.items() if seconds[0] is not None}
    if not parts:
        return None
    names = list(parts)
    traces: list[Trace] = [
        {"type": "bar", "orientation": "h", "name": part, "y": names, "x": [seconds[number] for seconds in parts.values()], "marker": {"color": colour}}
        for number, (part, colour) in enumerate(PARTS)
        if any(seconds[number] for seconds in parts.values())
    ]
    shares = [seconds[1] / (seconds[0] + seconds[1]) for seconds in parts.values() if seconds[0] and seconds[1] is not None]
    return Figure(
        "cost",
        "Where the time of a run goes",
        "Mean over seeds. The student's part of the steps is what as many of the plain student's steps take; the rest is of teacher, helpers and losses, whose times are not recorded apart. "
        "Steps are device time and are charged; all else is not. The training of teachers and the trials of tuning are in the table.",
        f"{len(parts)} rows; teacher, helpers and losses take {100 * min(shares):.0f} to {100 * max(shares):.0f} % of the time of steps.",
        traces,
        {"barmode": "stack", "xaxis": axis("seconds of a run"), "yaxis": names_axis(names), "showlegend": True, "legend": {"traceorder": "normal"}},
        height_of(names) + 60,
    )


def audit(rows: Sequence[Row]) -> Figure | None:
    """The price by which the steps of a row were committed, and what they cost in its runs."""
    shown = [row for row in rows if row["step_cost"] and row["cost_spent"] and row["status"] != "reference"]
    if not shown:
        return None
    names = [label(name_of(row)) for row in shown]
    ratios = [row["cost_spent"] / row["step_cost"] for row in shown]
    errors = [2 * (row["cost_spent_error"] or 0.0) / row["step_cost"] for row in shown]
    off = [name_of(row) for row, ratio in zip(shown, ratios, strict=True) if abs(ratio - 1) > OFF]
    spent = [(name, row["budget_spent"]) for name, row in zip(names, shown, strict=True) if row["budget_spent"] is not None]
    return Figure(
        "audit",
        "Audit: what was paid, against what was said",
        "Cost of a step in the runs over the price by which their number was fixed, with two standard errors; and the part of the budget that was spent. "
        "1 is a run that cost what it was said to. What all rows have in common is the machine.",
        f"{len(shown)} rows; off by more than {100 * OFF:.0f} %: {', '.join(off) or 'none'}.",
        [
            {
                "type": "scatter",
                "mode": "markers",
                "name": "cost of a step ÷ its price",
                "x": ratios,
                "y": names,
                "error_x": {"type": "data", "array": errors, "color": "@accent", "thickness": 1.4, "width": 3},
                "marker": {"color": "@accent", "size": 7},
            },
            {
                "type": "scatter",
                "mode": "markers",
                "name": "time spent ÷ budget",
                "x": [part for _, part in spent],
                "y": [name for name, _ in spent],
                "marker": {"color": "@muted", "size": 7, "symbol": "diamond-open"},
            },
        ],
        {"xaxis": axis("1 = as said", zeroline=False), "yaxis": names_axis(names), "shapes": [line_at(x=1.0)], "showlegend": True},
        height_of(names) + 40,
    )
