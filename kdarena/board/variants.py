"""What a board is made of: which runs compare, and a method with one set of parameters."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kdarena.plan.board import Board, Place
from kdarena.plan.spec import COMPLETE, FILLING, LASTING
from kdarena.record.recorded import RecordedRun


def amount_of(run: RecordedRun) -> float:
    """The budget of a run's board; the fact ``budget`` says where the spec's own budget is a part of it."""
    return float(run.facts.get("budget", run.spec.budget.amount))


def place_of(run: RecordedRun) -> Place:
    """The board's place that a run belongs to, whatever its budget and its reference."""
    return board_of(run).place


def board_of(run: RecordedRun) -> Board:
    """The board that a run belongs to."""
    spec = run.spec
    return Board(
        task=spec.task,
        amount=amount_of(run),
        unit=spec.budget.unit,
        protocol=spec.protocol,
        device=spec.device,
        device_name=spec.device_name,
        precision=spec.precision,
        threads=spec.threads,
        torch=spec.torch,
        code=spec.code,
        data=spec.data,
        reference=spec.reference or "",
        capture=spec.capture,
        compiled=spec.compiled,
        views=spec.views or 0,
    )


def settled(runs: Iterable[RecordedRun]) -> list[RecordedRun]:
    """One run a key, in the order of their recording: of several the last with a result, or the last where all failed."""
    by_key: dict[str, RecordedRun] = {}
    for run in runs:
        before = by_key.get(run.key)
        if before is None or run.result.status in LASTING or before.result.status not in LASTING:
            by_key[run.key] = run
    return list(by_key.values())


def boards(runs: Iterable[RecordedRun]) -> dict[Board, list[RecordedRun]]:
    """The final runs of each board.

    That a method was skipped counts where it has no run on the board: what was trained stays on it.

    Args:
        runs: each key once (:func:`settled`).
    """
    finals = [run for run in runs if run.spec.purpose == "final"]
    by_board: dict[Board, list[RecordedRun]] = {}
    for run in finals:
        if run.result.status != "skipped":
            by_board.setdefault(board_of(run), []).append(run)
    for run in finals:
        if run.result.status == "skipped":
            without_reference = replace(board_of(run), reference="")
            matching = [board for board in by_board if replace(board, reference="") == without_reference]
            for board in matching or [without_reference]:
                others = by_board.setdefault(board, [])
                if all(other.result.status == "skipped" for other in others if other.spec.method == run.spec.method):
                    others.append(run)
    return dict(sorted(by_board.items()))


@dataclass(frozen=True)
class Variant:
    """A method with one set of parameters on one board.

    Attributes:
        runs: by seed.
        tuned: whether a tuner found the parameters.
    """

    runs: Mapping[int, RecordedRun]
    tuned: bool

    @property
    def first(self) -> RecordedRun:
        """A run, for what all of them share."""
        return self.runs[min(self.runs)]

    @property
    def finished(self) -> list[RecordedRun]:
        """The runs with a result, by seed."""
        return [self.runs[seed] for seed in sorted(self.runs) if self.runs[seed].result.status in COMPLETE]

    @property
    def skipped(self) -> bool:
        """Whether the method does not apply here."""
        return all(run.result.status == "skipped" for run in self.runs.values())

    @property
    def teacher_outputs(self) -> str | None:
        """``stored`` where the runs looked up outputs of their teachers, ``live`` where they called them; None without a teacher of the pool."""
        spec = self.first.spec
        return ("stored" if spec.stored else "live") if spec.teachers and not self.skipped else None

    def values(self, metric: str) -> dict[int, float]:
        """A metric of the finished runs by seed, where it is finite."""
        values = {run.spec.seed: run.result.metrics.get(metric, math.nan) for run in self.finished}
        return {seed: value for seed, value in values.items() if math.isfinite(value)}

    def mean(self, metric: str) -> float | None:
        """Its mean over the finished seeds."""
        return average(list(self.values(metric).values()))

    def complete(self, seeds: frozenset[int], metric: str) -> bool:
        """Whether every seed of the board is done and has a value."""
        return seeds <= self.values(metric).keys()

    def status(self, seeds: frozenset[int]) -> str:
        """``done`` where all is well; else how many ended how, as ``3 done, 2 diverged``."""
        counts = Counter[str](run.result.status for run in self.runs.values())
        missing = len(seeds - self.runs.keys())
        if missing and not self.skipped:
            counts["missing"] = missing
        if len(counts) == 1:
            return next(iter(counts))
        return ", ".join(f"{count} {status}" for status, count in sorted(counts.items(), key=lambda item: (item[0] not in COMPLETE, item[0])))


def variants(runs: Iterable[RecordedRun]) -> list[Variant]:
    """The runs of one row by parameters and recipe: the setting that was asked for, and the tuned one where there is one."""
    settings: dict[str, dict[int, RecordedRun]] = {}
    for run in runs:
        settings.setdefault(setting_key(run), {})[run.spec.seed] = run  # the last of a seed counts
    return [Variant(by_seed, any(run.setting == "tuned" for run in by_seed.values())) for by_seed in settings.values()]


def setting_key(run: RecordedRun) -> str:
    """Names parameters and recipe of a run."""
    return json.dumps([dict(run.spec.params), dict(run.spec.recipe)], sort_keys=True)


def ranked(variants: Sequence[Variant], seeds: frozenset[int], metric: str) -> Variant:
    """The variant that is ranked on the board: among the complete ones that with the best mean on validation.

    Test never decides. Where there is no validation (``--protocol published``) it is the default setting.
    """
    candidates = [variant for variant in variants if variant.complete(seeds, f"test/{metric}")] or list(variants)
    scores = {id(variant): variant.mean(f"validation/{metric}") for variant in candidates}
    if any(score is None for score in scores.values()):
        return max(candidates, key=lambda variant: (not variant.skipped, len(variant.finished), not variant.tuned))
    return max(candidates, key=lambda variant: (scores[id(variant)], not variant.tuned))


def step_cost(run: RecordedRun) -> tuple[float | None, float | None]:
    """Cost of a mean step of a run's method in steps of the plain student and its relative error; None where time was not measured.

    The steps that fill in teachers' outputs are none of the method's.
    """
    phases = [(cost, record) for cost, record in zip(run.spec.costs, run.result.phases, strict=False) if cost.phase != FILLING]
    steps = sum(record.steps for _, record in phases)
    if not steps or any(cost.relative is None for cost, _ in phases):
        return None, None
    total = sum((cost.relative or 0.0) * record.steps for cost, record in phases)
    # all phases are measured against the same student, so their errors are taken to add up
    error = sum((cost.relative or 0.0) * record.steps * (cost.error or 0.0) for cost, record in phases)
    return total / steps, error / total if total else None


def mean_of(runs: Iterable[RecordedRun], value: Callable[[RecordedRun], float | None]) -> float | None:
    """Mean over runs; None where any has none."""
    values = [value(run) for run in runs]
    return average([number for number in values if number is not None]) if None not in values else None


def whole(value: float | None) -> int | float | None:
    """A number that is whole as one."""
    return int(value) if value is not None and value == int(value) else value


def average(values: Sequence[float]) -> float | None:
    """The mean; None of nothing."""
    return float(np.mean(values)) if values else None
