"""What a page takes from the record, read once: the runs of its rows, the student's ladder, trials and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kdarena.board.cells import Row
from kdarena.board.leaderboard import board_matches
from kdarena.board.selection import named_of
from kdarena.board.variants import place_of, settled
from kdarena.errors import UserError
from kdarena.plan.board import Board, Place
from kdarena.record.recorded import RecordedRun

Curve = Sequence[tuple[int, float]]
Group = tuple[Place, str]
"""Runs of one method on one machine."""


class Curves(Protocol):
    """Where the curves of runs are."""

    def curves(self, run_id: str) -> Mapping[str, Curve]:
        """The curves of a run, by name; raises ``UserError`` where they can't be read."""
        ...


@dataclass(frozen=True)
class Recorded:
    """The runs that a page is made of.

    Attributes:
        record: where the curves are; None: there are none.
        by_id: every run.
        ladders: the runs at other budgets than a board's, by place and method.
        trials: the runs that tuned, likewise.
    """

    record: Curves | None = None
    by_id: Mapping[str, RecordedRun] = field(default_factory=dict)
    ladders: Mapping[Group, Sequence[RecordedRun]] = field(default_factory=dict)
    trials: Mapping[Group, Sequence[RecordedRun]] = field(default_factory=dict)

    @staticmethod
    def of(record: Curves | None, runs: Sequence[RecordedRun]) -> Recorded:
        """Runs, and where their curves are."""
        grouped: dict[str, dict[Group, list[RecordedRun]]] = {"control": {}, "tune": {}}
        for run in settled(runs):
            if run.spec.purpose in grouped:
                grouped[run.spec.purpose].setdefault((place_of(run), run.spec.method), []).append(run)
        return Recorded(record, {run.run_id: run for run in runs}, grouped["control"], grouped["tune"])

    def runs_of(self, row: Row) -> list[RecordedRun]:
        """The runs of a row that are recorded, by seed."""
        return [self.by_id[run_id] for run_id in row["run_ids"] or () if run_id in self.by_id]

    def ladder_of(self, row: Row) -> list[RecordedRun]:
        """The runs of a row's method at other budgets than the board's, on the same machine and with the same teacher."""
        board = board_of_row(row)
        runs = self.ladders.get((board.place, row["method"]), ())
        return [run for run in runs if run.spec.source == row["source"] and (run.spec.reference or "") == board.reference]

    def trials_of(self, row: Row) -> list[RecordedRun]:
        """The trials that tuned a row's method, in the order in which they were recorded."""
        board, named = board_of_row(row), {named_of(run) for run in self.runs_of(row)}
        runs = self.trials.get((board.place, row["method"]), ())
        return [run for run in runs if run.spec.source == row["source"] and named_of(run) in named and board_matches(board, run)]

    def curves_of(self, run: RecordedRun) -> Mapping[str, Curve]:
        """The curves of a run, by name; none where its file can't be read, which the record has said already."""
        if self.record is None:
            return {}
        try:
            return self.record.curves(run.run_id)
        except UserError:
            return {}


def board_of_row(row: Row) -> Board:
    """The board that a row is on."""
    places = ("task", "unit", "protocol", "device", "device_name", "precision", "threads", "torch", "code", "data", "capture", "compiled")
    same = {name: row[name] for name in places}
    return Board(amount=row["budget"], reference=row["reference"] or "", views=row["views"] or 0, **same)


def even_limit(counts: Sequence[int], most: int) -> int:
    """How many each of several groups may show where all of them together show at most so many: the small groups all of theirs."""
    limit = max(counts, default=0)
    while limit > 1 and sum(min(count, limit) for count in counts) > most:
        limit -= 1
    return limit
