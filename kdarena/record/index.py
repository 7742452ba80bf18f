"""The recorded runs read fast: an index of their files.

The files ``runs/RUN_ID.json`` are the truth and are never changed. The index ``runs.jsonl`` repeats each without its curves,
one line a file, with the file's size and time of change. It is only ever added to, may be deleted, and is never believed
against a file: a line whose file is gone or changed is passed over, as is a line that a killed process left half written,
and a file without a line is read and added.
"""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdarena.collector import uncollected
from kdarena.errors import Notice
from kdarena.files import write_atomically
from kdarena.record.checked import checksum
from kdarena.record.recorded import Document, RecordedRun, run_of

RUNS = "runs"
INDEX = "runs.jsonl"
_SUM = 16  # characters of a line's checksum


@dataclass(frozen=True)
class Unreadable:
    """A run's file that can't be read, and why.

    Attributes:
        broken: it is not whole, or was changed; else it may be of another version, or readable at another time.
    """

    path: Path
    reason: str
    broken: bool


def file_of(directory: Path, run_id: str) -> Path:
    """The file of a run in an output directory."""
    return directory / RUNS / f"{run_id}.json"


def run_ids(directory: Path) -> list[str]:
    """The ids of all runs that have a file, the oldest first by the time of their files."""
    stamps = _stamps(directory)
    return [name.removesuffix(".json") for name in sorted(stamps, key=lambda name: (stamps[name][1], name))]


def add(directory: Path, document: Document) -> None:
    """Write a run's file, and its line of the index.

    Raises:
        FileExistsError: the run is recorded already; what is recorded is never changed.
    """
    path = file_of(directory, document.run["run_id"])
    path.parent.mkdir(exist_ok=True)
    if path.exists():
        raise FileExistsError(path)
    write_atomically(path, document.text())
    _append(directory, [_line(path.name, _stamp(path.stat()), document)])


def load(directory: Path, run_id: str) -> Document:
    """A run's file, curves and all; raises ``OSError`` or ``ValueError`` where it can't be read."""
    document = Document.parse(file_of(directory, run_id).read_text(encoding="utf-8"))
    if document.run["run_id"] != run_id:
        raise ValueError("it is the file of another run")
    return document


def read(directory: Path, *, complete: bool = True) -> tuple[list[RecordedRun], list[Unreadable]]:
    """All runs in the order in which they were recorded, and the files that can't be read.

    Args:
        complete: whether to complete the index on the way; otherwise nothing is written.
    """
    with uncollected():  # there are no circles here, and it would walk all values read again and again
        return _read(directory, complete)


def _read(directory: Path, complete: bool) -> tuple[list[RecordedRun], list[Unreadable]]:
    stamps = _stamps(directory)
    lines, damage = _lines(directory)
    known = {entry["file"]: (entry, line) for entry, line in lines if stamps.get(entry["file"]) == (entry["size"], entry["changed"])}
    read: list[tuple[int, RecordedRun]] = []
    for name, (entry, _) in known.items():
        with contextlib.suppress(ValueError):  # a line of another version: the file says what is
            read.append((entry["recorded"], run_of(entry["run"])))
            del stamps[name]
    added, unreadable = [], []
    for name, stamp in stamps.items():
        try:
            document = load(directory, name.removesuffix(".json"))
        except (OSError, ValueError) as error:
            unreadable.append(Unreadable(directory / RUNS / name, " ".join(str(error).split()), isinstance(error, ValueError)))
            continue
        try:
            read.append((document.recorded, run_of(document.without_curves())))
        except (ValueError, KeyError, TypeError) as error:
            unreadable.append(Unreadable(directory / RUNS / name, " ".join(str(error).split()), broken=False))
        else:
            added.append(_line(name, stamp, document))
    read.sort(key=lambda pair: (pair[0], pair[1].run_id))
    runs = [run for _, run in read]
    if not complete:
        return runs, unreadable
    if damage and (known or added):
        if _rewrite(directory, [*(line for _, line in known.values()), *added]):
            warnings.warn(f"{directory / INDEX}: {damage}; made again from the files of the runs", category=Notice, stacklevel=4)
    elif len(lines) > 2 * len(known) + 1:  # most are of no use any more, as after a directory was copied
        _rewrite(directory, [*(line for _, line in known.values()), *added])
    elif added:
        _append(directory, added)
    return runs, unreadable


def _stamps(directory: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of every run's file, by its name."""
    try:
        with os.scandir(directory / RUNS) as entries:
            return {entry.name: _stamp(entry.stat()) for entry in entries if entry.name.endswith(".json")}
    except FileNotFoundError:
        return {}


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _lines(directory: Path) -> tuple[list[tuple[Mapping[str, Any], str]], str | None]:
    """The lines of the index that are whole, as values and as they are; and what is wrong with it, or None."""
    try:
        text = (directory / INDEX).read_text(encoding="utf-8")
    except FileNotFoundError:
        return [], "it was missing"
    except (OSError, ValueError):
        return [], "it could not be read"
    lines = [line for line in text.split("\n") if line]
    whole = [(json.loads(line[_SUM + 1 :]), line) for line in lines if line[:_SUM] == checksum(line[_SUM + 1 :])]
    damage = "it was empty" if not lines else "some of its lines were not whole" if len(whole) < len(lines) else None
    return whole, damage


def _line(name: str, stamp: tuple[int, int], document: Document) -> str:
    values = {"file": name, "size": stamp[0], "changed": stamp[1], "recorded": document.recorded, "run": document.without_curves()}
    text = json.dumps(values, separators=(",", ":"))
    return f"{checksum(text)} {text}"


def _rewrite(directory: Path, lines: list[str]) -> bool:
    """Write the whole index; False where it can't be written."""
    try:
        write_atomically(directory / INDEX, "".join(f"\n{line}" for line in lines))
    except OSError:
        return False
    return True


def _append(directory: Path, lines: list[str]) -> None:
    """Add lines; what a directory that can't be written lacks costs a reader time and nothing else."""
    # a line break first: the last line may be the half that a killed process left
    with contextlib.suppress(OSError), (directory / INDEX).open("a", encoding="utf-8") as file:
        file.write("".join(f"\n{line}" for line in lines))
