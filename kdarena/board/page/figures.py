"""The figures that compare the rows of a board: differences, accuracy against device time, and against parameters and latency."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from kdarena.board.cells import Row, name_of
from kdarena.board.page.plot import COLOURS, Figure, Trace, axis, band, cost_axis, height_of, label, line_at, names_axis
from kdarena.board.page.recorded import Recorded
from kdarena.board.page.table import interval_text, signed
from kdarena.board.reference_rows import TEACHER
from kdarena.board.statistics import mean_interval
from kdarena.board.variants import amount_of
from kdarena.plan.request import CONTROLS

Point = tuple[float, float, float, float, int]
"""Budget, mean, both ends of its interval, number of seeds."""
FEWEST_SHOWN = 12
"""Rows at least whose differences are drawn and not only written."""
UNITS = {"s": "device seconds of a run", "flop": "counted operations of a run", "epochs": "epochs of a run"}


def forest(rows: Sequence[Row]) -> Figure | None:
    """The differences to the student, each with its interval, the largest first."""
    corrected = any(row.get("delta_student_corrected_low") is not None for row in rows)
    columns = ("delta_student_corrected_low", "delta_student_corrected_high") if corrected else ("delta_student_low", "delta_student_high")
    shown = sorted((row for row in rows if row["delta_student"] is not None and row["status"] != "reference"), key=lambda row: -row["delta_student"])
    if not shown:
        return None
    names = [label(name_of(row)) for row in shown]
    least, largest = _shown_range(shown, columns)
    above = [row for row in shown if _ends(row, columns)[0] > 0 and _is_known(row, columns)]
    below = [row for row in shown if _ends(row, columns)[1] < 0 and _is_known(row, columns)]
    open_ = [row for row in shown if row not in above and row not in below]
    groups = (("above the student", "@good", above), ("no clear difference", "@muted", open_), ("below the student", "@bad", below))
    drawn = [(name, colour, [row for row in group if row["delta_student"] >= least]) for name, colour, group in groups]
    traces = [_intervals(name, colour, group, columns) for name, colour, group in drawn if group]
    beyond = [row for row in shown if row["delta_student"] < least]
    if beyond:
        traces.append(_beyond(beyond, columns, least))
    how = "corrected for the number of rows, so that all hold together" if corrected else "each for itself, not corrected for their number"
    return Figure(
        "forest",
        "Difference to the plain student at the same budget",
        f"Points are means over seeds, paired by seed; lines are 95 % intervals, {how}. An interval that holds 0 leaves open which is better.",
        f"{len(shown)} rows: {len(above)} intervals above 0, {len(below)} below, {len(open_)} with 0 inside. The largest mean is that of {name_of(shown[0])}.",
        traces,
        {
            "xaxis": axis(f"{label(shown[0]['metric'])}: method − student", zeroline=False, range=[least, largest]),
            "yaxis": names_axis(names),
            "shapes": [line_at(x=0.0)],
            "showlegend": True,
        },
        height_of(names) + 30,
    )


def _shown_range(rows: Sequence[Row], columns: tuple[str, str]) -> tuple[float, float]:
    """The differences that are shown at once: those of all rows, or of the better half where the others would press these together."""
    count = max(len(rows) // 2, FEWEST_SHOWN)
    lows, highs = zip(*(_ends(row, columns) for row in rows), strict=True)
    least, near, largest = min(*lows, 0.0), min(*lows[:count], 0.0), max(*highs, 0.0)
    if largest - least < 2 * (largest - near):
        near = least
    margin = 0.04 * (largest - near) or 1.0
    return near - margin, largest + margin


def _beyond(rows: Sequence[Row], columns: tuple[str, str], edge: float) -> Trace:
    """The differences that lie left of what is shown, in writing."""
    texts = [f" ◂ {signed(row['delta_student'])} {interval_text(*(row.get(column) for column in columns))}" for row in rows]
    return {
        "type": "scatter",
        "mode": "text",
        "x": [edge] * len(rows),
        "y": [label(name_of(row)) for row in rows],
        "text": texts,
        "textposition": "middle right",
        "textfont": {"color": "@bad"},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _is_known(row: Row, columns: tuple[str, str]) -> bool:
    return row.get(columns[0]) is not None and row.get(columns[1]) is not None


def _ends(row: Row, columns: tuple[str, str]) -> tuple[float, float]:
    """Both ends of a difference's interval; without one the difference itself."""
    return (row[columns[0]], row[columns[1]]) if _is_known(row, columns) else (row["delta_student"], row["delta_student"])


def _intervals(name: str, colour: str, rows: Sequence[Row], columns: tuple[str, str]) -> Trace:
    low = [row["delta_student"] - _ends(row, columns)[0] for row in rows]
    high = [_ends(row, columns)[1] - row["delta_student"] for row in rows]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [row["delta_student"] for row in rows],
        "y": [label(name_of(row)) for row in rows],
        "error_x": {"type": "data", "symmetric": False, "array": high, "arrayminus": low, "color": colour, "thickness": 1.6, "width": 4},
        "marker": {"color": colour, "size": 7},
    }


def against_time(rows: Sequence[Row], recorded: Recorded) -> Figure | None:
    """The metric against the budget: a line for each row whose method was trained at several budgets, a point for each other."""
    compared = [row for row in rows if row["status"] != "reference"]
    curves = [(row, points) for row in compared if len(points := _points(row, recorded)) > 1]
    drawn = {id(row) for row, _ in curves}
    others = [row for row in compared if id(row) not in drawn and row["unit"] == "s" and row["mean"] is not None and row["spent_s"] is not None]
    if not curves and not others:
        return None
    traces: list[Trace] = []
    for number, (row, line) in enumerate(curves):
        colour = f"@line{number % COLOURS}"
        xs = [point[0] for point in line]
        if all(point[2] is not None for point in line):
            traces.append(band(xs, [point[2] for point in line], [point[3] for point in line], colour))
        seeds = [f"{point[4]} seed{'s' if point[4] != 1 else ''}" for point in line]
        traces.append(_line(label(name_of(row)), xs, [point[1] for point in line], colour, text=seeds))
    if others:
        traces.append(
            {
                **_line("other methods, each at what it spent", [row["spent_s"] for row in others], [row["mean"] for row in others], "@muted"),
                "mode": "markers",
                "marker": {"color": "@muted", "size": 6, "symbol": "circle-open"},
                "text": [label(name_of(row)) for row in others],
            }
        )
    teacher = next((row["mean"] for row in rows if row["status"] == "reference" and row["method"] == TEACHER), None)
    named = ", ".join(name_of(row) for row, _ in curves) or "no method"
    return Figure(
        "time",
        f"{rows[0]['metric']} against the budget of a run",
        "Each point of a line is a whole training of its own, since schedules stretch with the budget; bands are 95 % t intervals over seeds."
        + (" The dotted line is the teacher." if teacher is not None else ""),
        f"Lines of {named}; {len(others)} further methods at one budget.",
        traces,
        {
            "xaxis": cost_axis(UNITS.get(rows[0]["unit"], "budget"), [point[0] for _, line in curves for point in line]),
            "yaxis": axis(f"{label(rows[0]['metric'])} on test"),
            "shapes": [line_at(y=teacher)] if teacher is not None else [],
            "showlegend": True,
        },
        420,
    )


def _line(name: str, xs: Sequence[float], ys: Sequence[float], colour: str, **further: Any) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": list(xs),
        "y": list(ys),
        "line": {"color": colour},
        "marker": {"color": colour},
        **further,
    }


def _points(row: Row, recorded: Recorded) -> list[Point]:
    """What the board knows of a row at several budgets; else what the record has of its method along a ladder."""
    text = row.get("time_curve_json")
    if text:
        return [tuple(point) for point in json.loads(text)]
    values: dict[float, list[float]] = {}
    for run in recorded.ladder_of(row):
        value = run.result.metrics.get(f"test/{row['metric']}")
        if value is not None and run.spec.budget.amount < amount_of(run):
            values.setdefault(run.spec.budget.amount, []).append(value)
    means = [(amount, mean_interval(of_seeds)) for amount, of_seeds in sorted(values.items())]
    line = [(amount, mean.mean, mean.low, mean.high, mean.count) for amount, mean in means if mean is not None]
    own = (row["budget"], row["mean"], row["ci_low"], row["ci_high"], row["seeds"])
    return [*line, own] if line and row["mean"] is not None else []  # type: ignore[list-item]


def trade_off(rows: Sequence[Row], column: str, unit: str) -> Figure | None:
    """The metric against what the deployed student costs, with the rows that no other row beats in both."""
    shown = [row for row in rows if row["mean"] is not None and row.get(column)]
    if not shown:
        return None
    best = sorted(front((row[column], row["mean"]) for row in shown))
    names = [label(name_of(row)) for row in shown]
    on_front = [name_of(row) for row in shown if (row[column], row["mean"]) in best]
    colours = ["@accent" if row["method"] not in CONTROLS else "@ink" for row in shown]
    what = {"params": "parameters", "latency_ms": "latency"}[column]
    return Figure(
        f"front-{column}",
        f"{rows[0]['metric']} against {what}",
        f"Left and up is better. The line joins the rows that no other row beats in both. {_measured(column)}",
        f"On the line: {', '.join(on_front)}.",
        [
            {
                **_line("not beaten in both", [x for x, _ in best], [y for _, y in best], "@muted"),
                "line": {"color": "@muted", "shape": "hv", "dash": "dot"},
                "mode": "lines",
            },
            {
                "type": "scatter",
                "mode": "markers",
                "name": "rows",
                "x": [row[column] for row in shown],
                "y": [row["mean"] for row in shown],
                "text": names,
                "marker": {"color": colours, "size": 8, "opacity": 0.8},
            },
        ],
        {
            "xaxis": cost_axis(f"{what} of the deployed network{unit}", [row[column] for row in shown]),
            "yaxis": axis(f"{label(rows[0]['metric'])} on test"),
            "showlegend": False,
        },
    )


def _measured(column: str) -> str:
    if column == "params":
        return "Every method deploys the task's reference student; other sizes are the teacher and further networks that a method deploys."
    return (
        "Latency is of one sample, measured once a method with its step cost; all methods deploy the same network, so rows differ by the noise of the machine."
    )


def front(points: Iterable[tuple[float, float]]) -> set[tuple[float, float]]:
    """The points that no other beats: none costs as little and is better, or is as good and costs less."""
    best: set[tuple[float, float]] = set()
    highest = float("-inf")
    for cost, value in sorted(set(points), key=lambda point: (point[0], -point[1])):
        if value > highest:
            best.add((cost, value))
            highest = value
    return best
