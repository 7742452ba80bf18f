"""The table of a board on the page: its columns, the bars of its rank intervals, and what is said of each row below it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdarena.board.cells import NOTHING, Row, clean, duration, name_of
from kdarena.board.page.recorded import Recorded
from kdarena.plan.spec import COMPLETE
from kdarena.record.recorded import RecordedRun


@dataclass(frozen=True)
class Heading:
    """The head of a column.

    Attributes:
        text: what is in it.
        help: what it means, in one sentence.
        number: whether its cells are numbers.
        wide: whether a narrow screen leaves it out.
    """

    text: str
    help: str
    number: bool = True
    wide: bool = True


@dataclass(frozen=True)
class Cell:
    """A cell: its text, a second line below it, and the value that it is sorted by; None comes last."""

    text: str
    second: str = ""
    value: float | str | None = None


@dataclass(frozen=True)
class Bar:
    """An interval of ranks as a part of all ranks, in percent of the width: where it begins, and how wide it is."""

    left: float
    width: float


@dataclass(frozen=True)
class RunLine:
    """A run as the page names it."""

    run_id: str
    seed: str
    status: str
    value: str


@dataclass(frozen=True)
class TableRow:
    """A row of the table.

    Attributes:
        anchor: name of the row in the page, made of numbers alone.
        name, cells: as they are read.
        status: where it is not ``done``, else empty.
        bar: of its rank interval; None where it has none.
        searched: what a filter looks in.
        facts: names and values of what else is known of it.
        note: what a reader has to know, or empty.
        runs: that it is made of.
    """

    anchor: str
    name: str
    status: str
    cells: Sequence[Cell]
    bar: Bar | None
    searched: str
    facts: Sequence[tuple[str, str]]
    note: str
    runs: Sequence[RunLine]


def headings(metric: str, corrected: bool) -> list[Heading]:
    """The heads after that of the method, in the order of the cells of :func:`table_row`."""
    interval = "corrected for the number of rows" if corrected else "not corrected for the number of rows"
    return [
        Heading(metric, "Mean over seeds on the test set, and half of its 95 % interval.", wide=False),
        Heading("gain over student", f"Difference to the student alone at the same budget, with its 95 % interval, {interval}.", wide=False),
        Heading("rank interval", "The ranks that the row may have, by the tests against the student and of all pairs of rows.", wide=False),
        Heading("p", "Of the difference to the student, corrected for the number of rows (Holm)."),
        Heading("at equal updates", "Difference to the student alone after as many updates of the deployed student."),
        Heading("supervision", "What the method took in addition to labels.", number=False),
        Heading("step cost", "Cost of a step, in steps of the plain student."),
        Heading("time of a run", "Device time that the steps of a run took."),
        Heading("seeds", "Runs that are done."),
    ]


def table_row(row: Row, anchor: str, ranks: int, corrected: bool, recorded: Recorded) -> TableRow:
    """A row of the frame as a row of the table.

    Args:
        ranks: the number of ranks on its board.
        corrected: whether the intervals of the board are corrected.
    """
    low, high = (row.get(f"delta_student{'_corrected' if corrected else ''}_{end}") for end in ("low", "high"))
    first, last = row.get("rank_low"), row.get("rank_high")
    half = None if row["ci_low"] is None else (row["ci_high"] - row["ci_low"]) / 2
    supervision, status = clean(row["supervision"] or ""), "" if row["status"] == "done" else clean(row["status"])
    cells = [
        Cell(number(row["mean"]), f"± {number(half)}" if half is not None else "", row["mean"]),
        Cell(signed(row["delta_student"]), interval_text(low, high), row["delta_student"]),
        Cell(NOTHING if first is None else f"{first:.0f}" if first == last else f"{first:.0f}–{last:.0f}", "", first),
        Cell(NOTHING if row["p_holm"] is None else p_text(row["p_holm"]), "", row["p_holm"]),
        Cell(
            signed(row["delta_equal_updates"]),
            interval_text(row["delta_equal_updates_low"], row["delta_equal_updates_high"]),
            row["delta_equal_updates"],
        ),
        Cell(supervision or NOTHING, "", supervision),
        Cell(number(row["step_cost"]), "", row["step_cost"]),
        Cell(duration(row["spent_s"]), "", row["spent_s"]),
        Cell(str(row["seeds"]), "", row["seeds"]),
    ]
    name = name_of(row)
    bar = None if first is None or last is None else Bar(100 * (first - 1) / max(ranks, 1), 100 * (last - first + 1) / max(ranks, 1))
    runs = [_run_line(run, row) for run in recorded.runs_of(row)] or [RunLine(clean(run_id), "", "", "") for run_id in row["run_ids"] or ()]
    note = clean(row["status_note"] or "")
    return TableRow(anchor, name, status, cells, bar, f"{name} {supervision} {row['status']}".lower(), facts(row), note, runs)


def facts(row: Row) -> list[tuple[str, str]]:
    """What is known of a row and has no column, or none on a narrow screen; what is not known is left out."""
    known: Mapping[str, Any] = {
        "status": row["status"],
        "paper": row["paper"],
        "supervision": row["supervision"],
        "gain over kd": _with_interval(
            row["delta_kd"], row.get("delta_kd_corrected_low") or row["delta_kd_low"], row.get("delta_kd_corrected_high") or row["delta_kd_high"]
        ),
        "gain at equal updates": _with_interval(row["delta_equal_updates"], row["delta_equal_updates_low"], row["delta_equal_updates_high"]),
        "smallest detectable difference": _maybe(row["detectable"]),
        "seeds that this difference needs": row["seeds_needed"],
        "error from the test set alone": _maybe(row.get("test_set_error")),
        "reaches the student's value after": _seconds(row.get("seconds_to_student")),
        "reaches the teacher's value after": _seconds(row.get("seconds_to_teacher")),
        "setting": None if row["tuned"] is None else "tuned" if row["tuned"] else "default",
        "settings tried": row["tried"],
        "parameters changed": _changed(row["params_json"]),
        "recipe changed": _changed(row["recipe_json"]),
        "default setting's mean": _maybe(row["mean_default"]),
        "tuned setting's mean": _maybe(row["mean_tuned"]),
        "validation": _maybe(row["validation"]),
        "calibration error": _maybe(row["ece"]),
        "agreement with the teacher": _maybe(row["agreement"]),
        "steps": None if row["steps"] is None else f"{row['steps']:,.0f}",
        "tuning": _seconds(row["tuning_s"]),
        "training of teachers": _seconds(row["teacher_s"]),
        "time outside of charged steps": _seconds(row["outside_s"]),
        "operations of a run": None if row["flops"] is None else f"{row['flops']:.4g}",
        "parameters of the network": None if row["params"] is None else f"{row['params']:,}",
        "latency": None if row["latency_ms"] is None else f"{row['latency_ms']:.4g} ms",
        "defaults from": row["default_source"],
    }
    return [(name, clean(value)) for name, value in known.items() if value not in (None, "")]


def _run_line(run: RecordedRun, row: Row) -> RunLine:
    value = run.result.metrics.get(f"test/{row['metric']}") if run.result.status in COMPLETE else None
    return RunLine(run.run_id, str(run.spec.seed), run.result.status, number(value))


def number(value: float | None) -> str:
    """At most four significant digits, and two decimals."""
    if value is None:
        return NOTHING
    return f"{value:.2f}" if abs(value) < 100 else f"{value:.1f}" if abs(value) < 1000 else f"{value:.4g}"


def signed(value: float | None) -> str:
    """A difference with its sign."""
    if value is None:
        return NOTHING
    return ("+" if value >= 0 else "−") + number(abs(value))


def interval_text(low: float | None, high: float | None) -> str:
    """Both ends of an interval; empty without one."""
    return "" if low is None or high is None else f"[{signed(low)}, {signed(high)}]"


def p_text(value: float) -> str:
    """A p value as it is printed."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.0995 else f"{value:.2f}"


def _with_interval(value: float | None, low: float | None, high: float | None) -> str | None:
    return None if value is None else f"{signed(value)} {interval_text(low, high)}".strip()


def _maybe(value: float | None) -> str | None:
    return None if value is None else number(value)


def _seconds(value: float | None) -> str | None:
    return None if value is None else duration(value)


def _changed(text: str | None) -> str:
    """A setting of the frame as it is read, as ``tau = 2.5, lr = 0.1``."""
    values = json.loads(text) if text else {}
    return ", ".join(f"{name} = {value:.4g}" if isinstance(value, float) else f"{name} = {value}" for name, value in values.items())
