"""Which student to take, from the rows of a board: the choice, how sure it is, and when further seeds would change nothing.

The leader is the first method, by its mean, that is established above the plain student. Where there is none, it is the method with the best mean, and
the cheapest of those that can't be distinguished from it is recommended, which in most cases is the plain student itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from kdarena.board.rows import Row, compared, name_of, rows
from kdarena.board.screen import clean
from kdarena.plan.levels import FEWEST_SEEDS
from kdarena.plan.request import CONTROLS

LEVEL = 0.05
"""Of the tests, corrected for the number of methods."""
EARLY_LEVEL = 0.001
"""The same where final seeds end early: so small that looking before the last seed leaves the level of the whole as it is (Haybittle 1971, Peto et al. 1976)."""
HOPELESS = 4.0
"""A difference that would need so many times the planned seeds is not waited for."""
STUDENT, KD = CONTROLS


@dataclass(frozen=True)
class Recommendation:
    """What to take on a task.

    Attributes:
        row: of the recommended method.
        leader: the best of the rows that are established above the plain student; where none is, the row with the best mean.
        established: whether the leader is a method that is established above the plain student.
        group: the methods that can't be distinguished from the leader, the best first.
    """

    row: Row
    leader: Row
    established: bool
    group: tuple[str, ...]


def rows_of_task(frame: pd.DataFrame, task: str) -> list[Row]:
    """The rows of a task's methods that compare, the best mean first."""
    return sorted(compared([row for row in rows(frame) if row["task"] == task]), key=lambda row: -row["mean"])


def recommended(board: Sequence[Row]) -> Recommendation | None:
    """What to take; None where no row has a result.

    Args:
        board: of :func:`rows_of_task`.
    """
    if not board:
        return None
    leader = _leader(board)
    established = is_above(leader, STUDENT)
    group = _leading_group(board)
    return Recommendation(leader if established else min(group, key=_expense), leader, established, tuple(name_of(row) for row in group))


def _leader(board: Sequence[Row]) -> Row:
    return next((row for row in board if is_above(row, STUDENT)), board[0])


def is_above(row: Row, control: str, level: float = LEVEL) -> bool:
    """Whether a row is established above a control, by the tests of its board."""
    difference, p = row[_difference(control)], _p(row, control)
    return difference is not None and difference > 0 and p is not None and p <= level


def reason_to_stop(board: Sequence[Row], planned: int) -> str | None:
    """Why further seeds would change nothing, or None where they may.

    Args:
        board: of :func:`rows_of_task`, with the seeds that are done.
        planned: seeds in all.
    """
    if len(board) < 2 or max(row["seeds"] for row in board) < FEWEST_SEEDS:
        return None
    leader = _leader(board)
    others = [control for control in CONTROLS if control != leader["method"] and control in {row["method"] for row in board}]
    if STUDENT in others and all(is_above(leader, control, EARLY_LEVEL) for control in others):
        return f"{name_of(leader)} is established above {' and '.join(others)}"
    tested = [row for row in board if row["p_holm"] is not None]
    if tested and all(_is_hopeless(row, planned) for row in tested):
        return f"it is unlikely that {planned} establish a method above {STUDENT}"
    return None


def _is_hopeless(row: Row, planned: int) -> bool:
    """Whether a row's gain would need far more seeds than are planned, or its interval leaves it none."""
    if row["delta_student"] > 0:
        return row["seeds_needed"] is None or row["seeds_needed"] > HOPELESS * planned
    return bool(row["delta_student_high"] <= 0)


def sentences(choice: Recommendation, board: Sequence[Row]) -> list[str]:
    """The recommendation in words, a line each."""
    row, leader = choice.row, choice.leader
    unit, seeds = clean(row["metric"]), row["seeds"]
    lines = [
        f"{clean(row['task'])}: take {name_of(row)}: {unit} {_mean(row)} over {seeds} seed{'s' if seeds > 1 else ''} that no rung had, at {_budget(row)} a run ({_supervision(row)})."
    ]
    if len(board) == 1:
        return [*lines, "Nothing is established: no other method has a result of every seed here, so there is nothing to compare it with."]
    if choice.established:
        lines.append(f"It is established above {STUDENT}: {_gain(leader, STUDENT)}.")
        if leader["method"] != KD and leader["delta_kd"] is not None:
            known = "established" if is_above(leader, KD) else "not established"
            lines.append(f"Above {KD} it is {known}: {_gain(leader, KD)}.")
    else:
        ahead = f": the best of them, {name_of(leader)}, has {_gain(leader, STUDENT)}" if leader["delta_student"] is not None else ""
        lines.append(f"Nothing is established: no method is shown to be better than {STUDENT} at this budget{ahead}.")
        if len(choice.group) > 1:
            lines.append(f"{name_of(row)} is the cheapest of those that can't be distinguished: {', '.join(choice.group)}.")
    if not choice.established and leader["seeds_needed"] is not None and (leader["delta_student"] or 0) > 0:
        lines.append(f"About {leader['seeds_needed']} seeds would settle whether {name_of(leader)} is better, if its gain is what was seen.")
    lines.append("Not known: how settings and methods that the race left behind, on shorter runs, would end at this budget.")
    return lines


def _leading_group(board: Sequence[Row]) -> list[Row]:
    """The rows whose rank interval holds 1; all, where the board has no ranks."""
    return [row for row in board if row["rank_low"] == 1] or list(board)


def _expense(row: Row) -> tuple[int, float]:
    """What a method takes that the plain student does not: teachers, then operations a step; the same on every machine."""
    supervision = row["supervision"] or ""
    teachers = {"none": 0, "one teacher": 1}.get(supervision, 2)
    return (0 if row["method"] == STUDENT else 1) + teachers, (row["flops"] or math.inf) / (row["steps"] or 1)


def _p(row: Row, control: str) -> float | None:
    """Of the difference to a control, corrected over the board; None where there is no test."""
    p: float | None = row["p_holm" if control == STUDENT else "p_kd_holm"]
    return p


def _difference(control: str) -> str:
    return "delta_student" if control == STUDENT else "delta_kd"


def _gain(row: Row, control: str) -> str:
    """A difference with its interval, that over the board's family where there is one, and its p."""
    column = _difference(control)
    low, high = row[f"{column}_corrected_low"], row[f"{column}_corrected_high"]
    if row[column] is None:
        return "no difference that is known"
    interval = f" [{low:.2f}, {high:.2f}], corrected interval" if low is not None and high is not None else ""
    p = _p(row, control)
    tested = "no test" if p is None else f"p {p:.2g}"
    return f"{row[column]:+.2f}{interval}, {tested}"


def _mean(row: Row) -> str:
    return f"{row['mean']:.2f}" + (f" ± {(row['ci_high'] - row['ci_low']) / 2:.2f}" if row["ci_low"] is not None else "")


def _budget(row: Row) -> str:
    return f"{row['budget']:.4g} {clean(row['unit'])}"


def _supervision(row: Row) -> str:
    supervision = clean(row["supervision"] or "none")
    return "no teacher" if supervision == "none" else supervision
