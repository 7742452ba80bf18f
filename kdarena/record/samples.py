"""What final runs scored on each test sample: a file a run next to its student, read only where a board is made of the run."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

from kdarena.errors import Notice, described
from kdarena.plan.plain import from_plain
from kdarena.record import checked
from kdarena.record.recorded import RecordedRun
from kdarena.tracks.samples import PackedSamples, Samples, unpacked

ReadSamples = Callable[[RecordedRun], Samples | None]
"""Gives what a run scored on each test sample, or None where that is not recorded."""


def file_of(students: Path, key: str) -> Path:
    """The file of a run.

    Args:
        students: folder of the students.
        key: of the run.
    """
    return students / f"{key}.samples.json"


def keep(students: Path, key: str, samples: PackedSamples) -> None:
    """Write a run's file; raises ``OSError`` where it can't be written."""
    checked.write(file_of(students, key), {"form": samples.form, "shape": list(samples.shape), "kind": samples.kind, "counts": samples.counts})


def reader(students: Path) -> ReadSamples:
    """Reads the files of a folder; one that can't be used is named once in a line, and counts as missing."""

    def read(run: RecordedRun) -> Samples | None:
        path = file_of(students, run.key)
        try:
            return unpacked(from_plain(PackedSamples, checked.loaded(path)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            warnings.warn(f"{path}: not used ({described(error)}); the test set's own error is not known for its row", category=Notice, stacklevel=1)
            return None

    return read
