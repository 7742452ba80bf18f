"""Which runs a board's rows are made of: those that a command asked for, or all of a record by method, setting and code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from kdarena.board.variants import setting_key
from kdarena.plan.spec import Purpose
from kdarena.record.recorded import RecordedRun

COUNTED: tuple[Purpose, ...] = ("final", "tune")
"""Purposes of the runs whose settings were tried for a board."""


@dataclass(frozen=True, order=True)
class Entry:
    """What a row is of: a method in one setting and one version of its code.

    Attributes:
        named: what the user fixed, as ``a=0.1``; empty for the default setting.
        version: the first digits of the digest of its code, where the board has several versions of it; else empty.
    """

    method: str
    named: str = ""
    version: str = ""


def asked_for(runs: Iterable[RecordedRun], asked: Mapping[str, str]) -> list[RecordedRun]:
    """The runs of one command, each with the setting that it has in this command.

    Args:
        asked: settings by the keys of the command's runs.
    """
    return [replace(run, setting=asked[run.key]) for run in runs if run.key in asked]


def entries(finals: Sequence[RecordedRun], sources: Mapping[str, str]) -> dict[Entry, list[RecordedRun]]:
    """The final runs of a board by the row that they belong to.

    Args:
        sources: of each method the digest of the code that a command last ran. Where a board has several versions of a method, and none of
            them is that, each has its rows: which of them counts nobody said, least of all the time of their runs.
    """
    versions: dict[str, set[str]] = {}
    for run in finals:
        versions.setdefault(run.spec.method, set()).add(run.spec.source)
    rows: dict[Entry, list[RecordedRun]] = {}
    for run in finals:
        method, source = run.spec.method, run.spec.source
        known = versions[method]
        if len(known) > 1 and sources.get(method) in known and source != sources[method]:
            continue
        several = len(known) > 1 and sources.get(method) not in known
        rows.setdefault(Entry(method, run.facts.get("named", ""), source[:8] if several else ""), []).append(run)
    return rows


def settings_tried(runs: Iterable[RecordedRun]) -> dict[str, int]:
    """How many settings of each method, its code included, were tried in trials and final runs; skipped ones are no trial."""
    tried: dict[str, set[tuple[str, str]]] = {}
    for run in runs:
        if run.spec.purpose in COUNTED and run.result.status != "skipped":
            tried.setdefault(run.spec.method, set()).add((run.spec.source, setting_key(run)))
    return {method: len(settings) for method, settings in tried.items()}
