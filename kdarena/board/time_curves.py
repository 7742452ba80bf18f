"""Accuracy against device time, from whole schedules of several lengths: a row's points, where two methods cross, and the time to a target.

A point within a run is not what a run of that length reaches, since schedules stretch with the budget. So every point is of runs that were planned for
its budget: the final runs, and those along a ladder of further budgets.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdarena.board.statistics import mean_interval, paired_difference
from kdarena.board.variants import Variant, amount_of, setting_key
from kdarena.plan.board import Board
from kdarena.plan.request import CHARGED
from kdarena.plan.spec import COMPLETE
from kdarena.record.recorded import RecordedRun

LADDER = "ladder:"
LEVEL = 0.05
"""Chance of any false crossing on a board."""


@dataclass(frozen=True)
class Point:
    """Runs of one budget.

    Attributes:
        budget: of a run, in the unit of the board.
        values: of a metric, by seed.
        seconds: device time of a run, the mean over seeds.
    """

    budget: float
    values: Mapping[int, float]
    seconds: float

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return float(np.mean(list(self.values.values())))

    def plain(self) -> list[float | int | None]:
        """Budget, mean, its 95 % t interval and the number of seeds."""
        interval = mean_interval(list(self.values.values()))
        assert interval is not None
        return [self.budget, interval.mean, interval.low, interval.high, interval.count]


@dataclass(frozen=True)
class TimeCurve:
    """A row's points in ascending order of their budgets, each once."""

    points: tuple[Point, ...]

    def reached(self, target: float, unit: str) -> float | None:
        """Device seconds of a run with which the mean first reaches a target; None where it does not, or where there is but one point.

        Between points it is read from a monotone cubic in the logarithm of the budget. Below the shortest run nothing is known: where that has
        reached the target, its own time is given.
        """
        means = [point.mean for point in self.points]
        first = next((position for position, mean in enumerate(means) if mean >= target), None)
        if first is None or len(means) < 2:
            return None
        if first == 0:
            return self._seconds(self.points[0].budget, unit)
        budgets = [point.budget for point in self.points]
        return self._seconds(crossed(budgets, [mean - target for mean in means], first - 1, first), unit)

    def _seconds(self, budget: float, unit: str) -> float | None:
        """Device seconds of a run of a budget; where the budget is no time, between those of the points."""
        if unit == "s":
            return budget
        timed = [point for point in self.points if point.seconds > 0]
        if not timed:
            return None
        budgets, seconds = ([math.log(value) for value in values] for values in zip(*((point.budget, point.seconds) for point in timed), strict=True))
        return math.exp(np.interp(math.log(budget), budgets, seconds))


def curve_of(variant: Variant, others: Sequence[RecordedRun], board: Board, metric: str, trials: Sequence[RecordedRun] = ()) -> TimeCurve:
    """The curve of a row.

    Args:
        others: runs along ladders on the board's machine, of whatever method and setting.
        metric: as ``test/top1``.
        trials: of the method, of which those in the setting of the row are points too. They have no value on test.
    """
    same = [run for run in others if _belongs(run, variant)] + [run for run in trials if setting_key(run) == setting_key(variant.first)]
    runs = [(board.amount, run) for run in variant.finished] + [(nominal(run), run) for run in same if run.result.status in COMPLETE]
    by_budget: dict[float, dict[int, RecordedRun]] = {}
    for budget, run in runs:
        if math.isfinite(run.result.metrics.get(metric, math.nan)):
            by_budget.setdefault(float(f"{budget:.10g}"), {})[run.spec.seed] = run  # two commands may name one budget with other roundings
    return TimeCurve(tuple(_point(budget, by_budget[budget].values(), metric) for budget in sorted(by_budget)))


def _belongs(rung: RecordedRun, variant: Variant) -> bool:
    """Whether a run along a ladder is of the method, code, price and setting of a row."""
    first = variant.first
    same = (rung.spec.method, rung.spec.source, rung.spec.reference) == (first.spec.method, first.spec.source, first.spec.reference)
    # a short run calls its teachers where a long one looks their outputs up, at another price
    priced = rung.spec.costs == first.spec.costs or bool(rung.spec.stored) != bool(first.spec.stored)
    return same and priced and setting_key(rung) == setting_key(first) and rung.facts.get(CHARGED, "") == first.facts.get(CHARGED, "")


def nominal(run: RecordedRun) -> float:
    """The budget of a shorter or longer run as it was asked for, teachers that are charged included, before it was rounded to whole steps."""
    return float(run.setting.removeprefix(LADDER)) * amount_of(run) if run.setting.startswith(LADDER) else run.spec.budget.amount


def _point(budget: float, runs: Iterable[RecordedRun], metric: str) -> Point:
    every = list(runs)
    return Point(budget, {run.spec.seed: run.result.metrics[metric] for run in every}, float(np.mean([run.result.spent_s for run in every])))


def crossed(budgets: Sequence[float], differences: Sequence[float], low: int, high: int) -> float:
    """The budget between two points at which a monotone cubic through all of them is zero.

    Args:
        budgets: ascending.
        differences: at each; not of the same sign at ``low`` and ``high``.
    """
    from scipy.interpolate import PchipInterpolator
    from scipy.optimize import brentq

    places = [math.log(budget) for budget in budgets]
    difference = PchipInterpolator(places, differences)
    if difference(places[low]) * difference(places[high]) >= 0:  # zero at one of them, but for rounding
        return budgets[low if abs(differences[low]) < abs(differences[high]) else high]
    return float(math.exp(brentq(difference, places[low], places[high])))


def curve_columns(
    variant: Variant, others: Sequence[RecordedRun], trials: Sequence[RecordedRun], board: Board, metric: str, targets: Mapping[str, float | None]
) -> dict[str, Any]:
    """The columns of a row, and its curve itself as ``time_curve``: its points on test, and on validation with the trials of the defaults; device seconds to each target.

    Args:
        targets: by column.
    """
    curve = curve_of(variant, others, board, f"test/{metric}")
    known = curve_of(variant, others, board, f"validation/{metric}", () if variant.tuned else trials)
    return {
        "time_curve": curve,
        "time_curve_json": _json(curve),
        "validation_curve_json": _json(known),
        **{column: None if target is None else curve.reached(target, board.unit) for column, target in targets.items()},
    }


def _json(curve: TimeCurve) -> str | None:
    return json.dumps([point.plain() for point in curve.points]) if curve.points else None


def row_name(row: Mapping[str, Any]) -> str:
    """The name of a row in sentences."""
    return " ".join(filter(None, (row["method"], row["named"], row["version"] and f"@{row['version']}")))


def crossings(curves: Mapping[str, TimeCurve], unit: str) -> str | None:
    """Where methods cross, in sentences; None where fewer than two have points at two budgets.

    Two methods cross where the difference paired by seed changes its sign between two budgets, and its interval is clear of zero at both. The intervals
    of all pairs and budgets hold together with 95 %.

    Args:
        curves: by the names of the rows.
    """
    climbed = {name: curve for name, curve in curves.items() if len(curve.points) > 1}
    pairs = {pair: common for pair in itertools.combinations(climbed, 2) if len(common := _common(*(climbed[name] for name in pair))) > 1}
    if not pairs:
        return None
    count = sum(map(len, pairs.values()))
    established = [text for pair, common in pairs.items() if (text := _crossing(pair, common, 1 - LEVEL / count, unit))]
    if established:
        return f"{'; '.join(established)} (differences paired by seed, {count} simultaneous 95 % intervals)"
    ends = [budget for common in pairs.values() for budget, _ in common]
    names = ", ".join(dict.fromkeys(name for pair in pairs for name in pair))
    return (
        f"no crossing is established between {min(ends):.4g} {unit} and {max(ends):.4g} {unit} of {names} "
        f"(differences paired by seed, {count} simultaneous 95 % intervals)"
    )


def _common(one: TimeCurve, other: TimeCurve) -> list[tuple[float, tuple[Point, Point]]]:
    """Budgets at which both curves have runs of the same seed."""
    others = {point.budget: point for point in other.points}
    pairs = [(point.budget, (point, others[point.budget])) for point in one.points if point.budget in others]
    return [(budget, pair) for budget, pair in pairs if pair[0].values.keys() & pair[1].values.keys()]


def _crossing(names: tuple[str, str], common: Sequence[tuple[float, tuple[Point, Point]]], confidence: float, unit: str) -> str | None:
    """The first crossing of two methods, or None where none is established."""
    budgets = [budget for budget, _ in common]
    intervals = [paired_difference(one.values, other.values, confidence) for _, (one, other) in common]
    means = [interval.mean for interval in intervals if interval is not None]
    signs = [0 if i is None or i.low is None or i.high is None else (i.low > 0) - (i.high < 0) for i in intervals]
    clear = [position for position, sign in enumerate(signs) if sign]
    ends = next(((low, high) for low, high in itertools.pairwise(clear) if signs[low] != signs[high]), None)
    if ends is None:
        return None
    low, high = ends
    later, before = names if signs[high] > 0 else names[::-1]
    about = crossed(budgets, means, low, high)
    return f"{later} overtakes {before} at about {about:.3g} {unit}, between {budgets[low]:.4g} {unit} and {budgets[high]:.4g} {unit}"
