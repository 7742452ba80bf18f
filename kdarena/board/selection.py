"""Which runs a board's rows are made of: those that a command asked for, or all of a record by method, setting and code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from kdarena.board.variants import setting_key
from kdarena.plan.spec import Purpose
from kdarena.record.recorded import RecordedRun

COUNTED: tuple[Purpose, ...] = ("final", "tune")
"""Purposes of the runs whose settings were tried for a board."""
TUNED = ("tuned", "trial")
"""Settings of runs whose parameters a tuner chose."""


@dataclass(frozen=True, order=True)
class Entry:
    """What a row is of: a method in one setting and one version of its code.

    Attributes:
        named: what the user fixed, as ``a=0.1``; empty for the default setting.
        tuning: the budget that it was tuned with, where it was with several; else empty.
        version: the first digits of the digest of its code, where the board has several versions of it; else empty.
    """

    method: str
    named: str = ""
    tuning: str = ""
    version: str = ""

    @property
    def setting(self) -> str:
        """What tells the row from others of the same method."""
        return ", ".join(filter(None, (self.named, self.tuning)))

    def tuned_by(self, trial: RecordedRun) -> bool:
        """Whether a trial of the same code tuned the method as it is in this row."""
        return trial.spec.method == self.method and named_of(trial) == self.named and (not self.tuning or tuning_of(trial) == self.tuning)


def asked_for(runs: Iterable[RecordedRun], asked: Mapping[str, str]) -> list[RecordedRun]:
    """The runs of one command, each with the setting that it has in this command.

    Args:
        asked: settings by the keys of the command's runs.
    """
    return [replace(run, setting=asked[run.key]) for run in runs if run.key in asked]


def entries(finals: Sequence[RecordedRun], sources: Mapping[str, str]) -> dict[Entry, list[RecordedRun]]:
    """The final runs of a board by the row that they belong to: what was asked for, never what came out best of all that was ever run.

    A row has the runs of a setting, and those of what a tuner found from it.

    Args:
        sources: of each method the digest of the code that a command last ran. Where a board has several versions of a method, and none of
            them is that, each has its rows: which of them counts nobody said, least of all the time of their runs.
    """
    versions: dict[str, set[str]] = {}
    for run in finals:
        versions.setdefault(run.spec.method, set()).add(run.spec.source)
    rows: dict[Entry, dict[str, list[RecordedRun]]] = {}
    for run in finals:
        method, source = run.spec.method, run.spec.source
        known = versions[method]
        if len(known) > 1 and sources.get(method) in known and source != sources[method]:
            continue
        version = source[:8] if len(known) > 1 and sources.get(method) not in known else ""
        rows.setdefault(Entry(method, named_of(run), version=version), {}).setdefault(tuning_of(run), []).append(run)
    return dict(pair for entry, by_tuning in rows.items() for pair in _by_tuning(entry, by_tuning))


def named_of(run: RecordedRun) -> str:
    """What the user fixed of a run's method; of a tuned run that is not all in which it differs from the defaults."""
    if run.setting in TUNED:
        return run.facts.get("named", "")
    return ", ".join(f"{name}={value}" for name, value in sorted({**run.spec.params, **run.spec.recipe}.items()))


def tuning_of(run: RecordedRun) -> str:
    """The tuning budget of a trial or a tuned run; empty for any other."""
    amount = run.facts.get("tuning")
    return "" if run.setting not in TUNED else "tuned" if amount is None else f"tuned with {float(amount):.4g} {run.spec.budget.unit}"


def _by_tuning(entry: Entry, by_tuning: Mapping[str, list[RecordedRun]]) -> Iterator[tuple[Entry, list[RecordedRun]]]:
    """One row, or one for each budget that the setting was tuned with."""
    asked, tunings = by_tuning.get("", []), [tuning for tuning in by_tuning if tuning]
    if len(tunings) < 2:
        yield entry, [*asked, *(run for tuning in tunings for run in by_tuning[tuning])]
        return
    for tuning in tunings:
        yield replace(entry, tuning=tuning), [*asked, *by_tuning[tuning]]


def settings_tried(runs: Iterable[RecordedRun]) -> dict[str, int]:
    """How many settings of each method, its code included, were tried in trials and final runs; skipped ones are no trial."""
    tried: dict[str, set[tuple[str, str]]] = {}
    for run in runs:
        if run.spec.purpose in COUNTED and run.result.status != "skipped":
            tried.setdefault(run.spec.method, set()).add((run.spec.source, setting_key(run)))
    return {method: len(settings) for method, settings in tried.items()}
