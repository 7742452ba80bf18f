"""What a board's rows show: the differences to the plain student and to the reference method, their tests, and the places that a method may have.

The family of a board are its complete rows that keep the rules. They are tested together and corrected for their number; other rows show a difference and no test.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from kdarena.board.moderation import Array
from kdarena.board.pairs import Pairs, compare_pairs, holm, rank_intervals
from kdarena.board.power import ALPHA, detectable_difference, seeds_needed
from kdarena.board.ranks import FEWEST_SEEDS
from kdarena.board.statistics import paired_difference


@dataclass(frozen=True)
class RowValues:
    """The values of a board's row.

    Attributes:
        values: of the ranked metric by seed.
        in_family: whether it has every seed of the board and keeps its rules.
    """

    values: Mapping[int, float]
    in_family: bool


def evidence(rows: Sequence[RowValues], student: int | None, reference: int | None) -> list[dict[str, Any]]:
    """The columns of each row that compare it with others; a column that is not there does not apply.

    Args:
        rows: of a board; those of the family share all their seeds.
        student, reference: places of the controls among them; None where the board has none.
    """
    columns: list[dict[str, Any]] = [{} for _ in rows]
    for column, control in (("delta_student", student), ("delta_kd", reference)):
        if control is not None:
            for row, cells in zip(rows, columns, strict=True):
                if row is not rows[control]:
                    cells.update(_paired(column, row, rows[control]))
    family = [place for place, row in enumerate(rows) if row.in_family]
    controls = [family.index(control) if control in family else None for control in (student, reference)]
    for place, cells in zip(family, _of_family([rows[place].values for place in family], *controls), strict=True):
        columns[place].update(cells)
    return columns


def _paired(column: str, row: RowValues, control: RowValues) -> dict[str, Any]:
    """A difference by seed with its t interval, as a row has it that is tested with no other."""
    interval = paired_difference(row.values, control.values)
    return {} if interval is None else {column: interval.mean, f"{column}_low": interval.low, f"{column}_high": interval.high}


def _of_family(rows: Sequence[Mapping[int, float]], student: int | None, reference: int | None) -> list[dict[str, Any]]:
    """The columns of rows that are tested together, each with the same seeds."""
    columns: list[dict[str, Any]] = [{"family": len(rows)} for _ in rows]
    seeds = sorted(rows[0]) if rows else []
    if len(seeds) < 2:
        return columns
    values = np.array([[row[seed] for seed in seeds] for row in rows])
    pairs = compare_pairs(values)
    if len(seeds) >= FEWEST_SEEDS:
        for cells, low, high in zip(columns, *rank_intervals(pairs, student), strict=True):
            cells |= {"rank_low": int(low), "rank_high": int(high)}
    for column, control, names in (("delta_student", student, ("p_raw", "p_holm")), ("delta_kd", reference, (None, "p_kd_holm"))):
        if control is not None:
            for place, cells in _against(pairs, values, control, column, *names).items():
                columns[place].update(cells)
    if student is not None:
        for place, cells in _seeds_that_show(pairs, values, student).items():
            columns[place].update(cells)
    return columns


def _against(pairs: Pairs, values: Array, control: int, column: str, p_raw: str | None, p_holm: str) -> dict[int, dict[str, Any]]:
    """Differences of all other rows to a control by their places, each with its interval and p alone and over all of them."""
    others = [place for place in range(len(values)) if place != control]
    corrected = dict(zip(others, holm(pairs.p[others, control]), strict=True))
    alone, together = (float(stdtrit(pairs.freedom, 1 - alpha / 2)) for alpha in (ALPHA, ALPHA / max(len(others), 1)))
    columns = {}
    for place in others:
        difference, variance = float(pairs.differences[place, control]), float(pairs.variances[place, control])
        cells: dict[str, Any] = {column: difference, f"{column}_low": None, f"{column}_high": None}
        if variance:
            error = math.sqrt(variance / values.shape[1])
            cells |= {f"{column}_low": difference - alone * error, f"{column}_high": difference + alone * error}
            low, high = _with_its_test(difference, together * error, established=bool(corrected[place] <= ALPHA))
            cells |= {f"{column}_corrected_low": low, f"{column}_corrected_high": high}
            cells |= {p_holm: float(corrected[place])} | ({p_raw: float(pairs.p[place, control])} if p_raw else {})
        columns[place] = cells
    return columns


def _with_its_test(difference: float, half_width: float, *, established: bool) -> tuple[float, float]:
    """An interval for all rows together, that ends at 0 where only Holm's test, which finds a little more, excludes the other sign."""
    low, high = difference - half_width, difference + half_width
    if not established:
        return low, high
    return (max(low, 0.0), high) if difference > 0 else (low, min(high, 0.0))


def _seeds_that_show(pairs: Pairs, values: Array, student: int) -> dict[int, dict[str, Any]]:
    """By place, the smallest difference to the student that so many seeds find, and how many find the difference seen."""
    methods, seeds = values.shape
    others = [place for place in range(methods) if place != student and pairs.variances[place, student]]
    if not others:
        return {}
    variances, tests = pairs.variances[others, student], methods - 1
    needed = seeds_needed(pairs.differences[others, student], variances, prior=pairs.prior, methods=methods, tests=tests)
    unit = detectable_difference(1.0, seeds, pairs.freedom, tests)
    return {
        place: {"detectable": unit * math.sqrt(variance), "seeds_needed": fewest} for place, variance, fewest in zip(others, variances, needed, strict=True)
    }
