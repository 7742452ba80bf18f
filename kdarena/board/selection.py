"""Which runs a board's rows are made of: those that a command asked for, or all of a record by method, setting and code."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from kdarena.board.variants import amount_of, setting_key
from kdarena.plan.request import RUNG, SWEPT
from kdarena.plan.spec import COMPLETE, digest
from kdarena.record.recorded import RecordedRun

_Key = TypeVar("_Key", bound=Hashable)

TUNED = ("tuned", "trial")
"""Settings of runs whose parameters a tuner chose; a race's too (:data:`kdarena.plan.request.RUNG`)."""


@dataclass(frozen=True)
class Asked:
    """What a command asked of a run: the setting and the facts that it has in this command, whoever trained it first."""

    setting: str = "default"
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, order=True)
class Entry:
    """What a row is of: a method in one setting and one version.

    Attributes:
        named: what the user fixed, as ``a=0.1``; empty for the default setting.
        charged: whether its teachers were paid from its budget.
        tuning: the budget that it was tuned with, where it was with several; else 0.
        version: where the board has several versions of the method's code, or of its step costs, the first digits of their digest; else empty.
    """

    method: str
    named: str = ""
    charged: bool = False
    tuning: float = 0.0
    version: str = ""

    def setting(self, unit: str) -> str:
        """What tells the row from others of the same method, but for the version."""
        tuning = f"tuned with {self.tuning:.4g} {unit}" if self.tuning else ""
        return ", ".join(filter(None, (self.named, "teachers charged" if self.charged else "", tuning)))

    def tuned_by(self, trial: RecordedRun) -> bool:
        """Whether a trial of the same code tuned the method as it is in this row: a longer tuning begins with the trials of a shorter one."""
        return trial.spec.method == self.method and named_of(trial) == self.named and (not self.tuning or tuning_of(trial) <= self.tuning)


def asked_for(runs: Iterable[RecordedRun], asked: Mapping[str, Asked]) -> list[RecordedRun]:
    """The runs of one command, each with the setting and the facts that it has in this command.

    Args:
        asked: by the keys of the command's runs.
    """
    return [replace(run, setting=asked[run.key].setting, facts=asked[run.key].facts) for run in runs if run.key in asked]


def entries(finals: Sequence[RecordedRun], sources: Mapping[str, str]) -> dict[Entry, list[RecordedRun]]:
    """The final runs of a board by the row that they belong to: what was asked for, never what came out best of all that was ever run.

    A row has the runs of a setting, and those of what a tuner found from it.

    Args:
        sources: of each method the digest of the code that a command last ran. Where a board has several versions of a method, and none of
            them is that, each has its rows: which of them counts nobody said, least of all the time of their runs.
    """
    rows: dict[Entry, list[RecordedRun]] = {}
    for method, runs in grouped(finals, lambda run: run.spec.method).items():
        by_source = grouped(runs, lambda run: run.spec.source)
        if sources.get(method) in by_source:
            by_source = {sources[method]: by_source[sources[method]]}
        for source, same_code in by_source.items():
            version = source[:8] if len(by_source) > 1 else ""
            for (named, charged), same_setting in grouped(same_code, _setting_of).items():
                entry = Entry(method, named, charged, version=version)
                rows.update(pair for priced in _by_price(entry, same_setting) for pair in _by_tuning(*priced))
    return rows


def named_of(run: RecordedRun) -> str:
    """What the user fixed of a run's method; of a tuned run that is not all in which it differs from the defaults."""
    if _is_tuned(run):
        return run.facts.get("named", "")
    return ", ".join(f"{name}={value}" for name, value in sorted({**run.spec.params, **run.spec.recipe}.items()))


def tuning_of(run: RecordedRun) -> float:
    """The tuning budget of a trial or a tuned run, 0 for any other and where it was not recorded."""
    return float(run.facts.get("tuning", 0.0)) if _is_tuned(run) else 0.0


def _is_tuned(run: RecordedRun) -> bool:
    return run.setting in TUNED or run.setting.startswith(RUNG)


def _setting_of(run: RecordedRun) -> tuple[str, bool]:
    """What the user fixed, and whether the run's teachers were paid from the board's budget."""
    return named_of(run), run.spec.budget.amount < amount_of(run)


def _by_price(entry: Entry, runs: Sequence[RecordedRun]) -> Iterator[tuple[Entry, list[RecordedRun]]]:
    """One row, or one for each set of step costs that the runs were committed by: runs of different lengths are not averaged."""
    by_costs = grouped(runs, lambda run: run.spec.costs)
    if len(by_costs) > 1:
        by_costs.pop((), None)  # of a command in which the method could not be profiled
    for costs, priced in by_costs.items():
        version = f"{entry.version} costs {digest([repr(cost) for cost in costs])[:8]}".strip() if len(by_costs) > 1 else entry.version
        yield replace(entry, version=version), priced


def _by_tuning(entry: Entry, runs: Sequence[RecordedRun]) -> Iterator[tuple[Entry, list[RecordedRun]]]:
    """One row, or one for each setting that a tuner found with another budget."""
    asked = [run for run in runs if not _is_tuned(run)]
    tuned = list(grouped([run for run in runs if _is_tuned(run)], setting_key).values())
    for same in tuned or [[]]:
        yield replace(entry, tuning=min(map(tuning_of, same)) if len(tuned) > 1 else 0.0), [*asked, *same]


def grouped(runs: Iterable[RecordedRun], key: Callable[[RecordedRun], _Key]) -> dict[_Key, list[RecordedRun]]:
    """Runs by what a key gives of them, in their order."""
    groups: dict[_Key, list[RecordedRun]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return groups


def without_unfinished_seed(rows: Mapping[Entry, Sequence[RecordedRun]]) -> tuple[dict[Entry, Sequence[RecordedRun]], int | None]:
    """The runs of each row without those of the last seed, where the command was interrupted in it; and that seed, or None.

    Final runs are done seed by seed over all methods: where some rows have all other seeds and not the last one, and the rest have all, it was
    under way. Without it the rows have the same seeds.
    """
    finished = [runs for runs in rows.values() if any(run.result.status in COMPLETE for run in runs)]
    seeds = [frozenset(run.spec.seed for run in runs) for runs in finished]
    every = frozenset[int]().union(*seeds)
    last = max(every, default=0)
    if len(every) < 2 or every - {last} not in seeds or not {*seeds} <= {every, every - {last}}:
        return dict(rows), None
    return {entry: [run for run in runs if run.spec.seed != last] or runs for entry, runs in rows.items()}, last


def settings_tried(runs: Iterable[RecordedRun]) -> dict[str, int]:
    """How many settings of each method, its code included, were tried in trials, sweeps and final runs; a skipped method was not tried."""
    tried: dict[str, set[tuple[str, str]]] = {}
    for run in runs:
        if (run.spec.purpose in ("final", "tune") or run.setting == SWEPT) and run.result.status != "skipped":
            tried.setdefault(run.spec.method, set()).add((run.spec.source, setting_key(run)))
    return {method: len(settings) for method, settings in tried.items()}
