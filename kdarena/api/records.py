"""What boards are made of: the runs of one output directory or of several, and what their methods declare."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdarena.board.merge import Part, merge
from kdarena.errors import UserError
from kdarena.record import declarations, samples
from kdarena.record.declarations import Declaration
from kdarena.record.recorded import RecordedRun
from kdarena.record.runs import Record
from kdarena.tracks.samples import Samples

if TYPE_CHECKING:
    from kdarena.method.plugin import Plugin


@dataclass(frozen=True)
class Recorded:
    """Runs, and where the rest of them is.

    Attributes:
        records: where the runs are.
        methods: what the methods declare, by name.
    """

    runs: Sequence[RecordedRun]
    records: Sequence[Record]
    methods: Mapping[str, Declaration]

    def curves(self, run_id: str) -> dict[str, list[tuple[int, float]]]:
        """The curves of a run; raises ``UserError`` where no record can give them."""
        for record in self.records[:-1]:
            with contextlib.suppress(UserError):
                return record.curves(run_id)
        return self.records[-1].curves(run_id)

    def samples(self, run: RecordedRun) -> Samples | None:
        """What a run scored on each test sample; None where it is not recorded."""
        return next((found for record in self.records if (found := samples.reader(record.checkpoints)(run)) is not None), None)


def recorded(record: Record, out: Path, plugins: Sequence[Plugin] | None = None) -> Recorded:
    """What a record holds.

    Args:
        plugins: the methods, where they were imported anyway; by default what they declared when they were last, which is kept
            in the output directory, and for a method that is not kept there all plugins are imported.
    """
    runs = record.runs()
    known = plugins if plugins is not None else _missing(runs, declarations.read(out))
    return Recorded(runs, [record], keep_declarations(out, known))


def merged(directories: Sequence[Path], plugins: Sequence[Plugin] | None = None) -> Recorded:
    """What several records hold together, of which nothing is written to their directories; ``plugins`` as for :func:`recorded`.

    Raises:
        UserError: one is no output directory, or they can't be compared.
    """
    named = list({directory.resolve(): directory for directory in directories}.values())
    records = [Record.open(directory, create=False, untouched=True) for directory in named]
    runs, kept = merge([Part(str(directory), record.runs(), declarations.read(directory)) for directory, record in zip(named, records, strict=True)])
    known = plugins if plugins is not None else _missing(runs, kept)
    return Recorded(runs, records, declarations.merged(kept, _declared(known)))


def keep_declarations(out: Path, plugins: Sequence[Plugin], run: Collection[str] = ()) -> dict[str, Declaration]:
    """Keep what methods declare in an output directory, and give it together with what was kept before.

    Args:
        run: names of the methods that a command runs: from now on their code is that which counts on a board of all runs.
    """
    methods = _declared(plugins, run)
    with contextlib.suppress(OSError):  # another's directory may be read and not be written
        declarations.keep(out, methods)
    return declarations.merged(declarations.read(out), methods)


def _missing(runs: Sequence[RecordedRun], kept: Mapping[str, Declaration]) -> Sequence[Plugin]:
    """All plugins, where a method of the runs is not among those that are kept."""
    if not {run.spec.method for run in runs} - kept.keys():
        return ()
    from kdarena.method.discovery import discover  # brings torch, which a board does without

    return discover()


def _declared(plugins: Sequence[Plugin], run: Collection[str] = ()) -> dict[str, Declaration]:
    """What plugins declare, with the digest of their code where they are ``run``."""
    return {plugin.name: Declaration.of(plugin.method, plugin.source if plugin.name in run else "") for plugin in plugins if plugin.method is not None}
