"""GLUE's single sentences and pairs from their public tsv files (Wang et al. 2019, arXiv 1804.07461).

The public test files carry no labels, so ``dev.tsv`` is the test split, and each seed cuts its validation part from
``train.tsv``. Nothing here imports torch.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from kdarena.tracks.downloads import remedy
from kdarena.tracks.rows import check_labels, count_rows, read_rows

Split = Literal["train", "test"]
FILES: Mapping[Split, str] = MappingProxyType({"train": "train.tsv", "test": "dev.tsv"})
ROOTS = ("", "text", "glue", "GLUE", "glue_data")
"""Folders below the data root in which the data sets' folders are looked for."""
NAMED_ROWS = 5
"""Bad rows that an error names."""


@dataclass(frozen=True)
class Layout:
    """One data set's files.

    Attributes:
        folder: its usual name.
        columns: of a row.
        texts: names of the columns of the sentence, or of the two.
        label: name of the label's column.
        labels: their names in the files, in the order of the classes.
        train, test: numbers of rows of the original files.
        metric: what it is ranked by.
        header: whether the first row names the columns.
    """

    folder: str
    columns: tuple[str, ...]
    texts: tuple[str, ...]
    label: str
    train: int
    test: int
    metric: str
    labels: tuple[str, ...] = ("0", "1")
    header: bool = True


LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "cola": Layout("CoLA", ("source", "label", "mark", "sentence"), ("sentence",), "label", 8_551, 1_043, "matthews", header=False),
        "sst2": Layout("SST-2", ("sentence", "label"), ("sentence",), "label", 67_349, 872, "accuracy"),
        "mrpc": Layout("MRPC", ("Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"), ("#1 String", "#2 String"), "Quality", 3_668, 408, "accuracy"),
        "rte": Layout(
            "RTE",
            ("index", "sentence1", "sentence2", "label"),
            ("sentence1", "sentence2"),
            "label",
            2_490,
            277,
            "accuracy",
            labels=("entailment", "not_entailment"),
        ),
        "qqp": Layout(
            "QQP", ("id", "qid1", "qid2", "question1", "question2", "is_duplicate"), ("question1", "question2"), "is_duplicate", 363_846, 40_430, "f1"
        ),
    }
)


@dataclass(frozen=True, eq=False)
class Rows:
    """A split: sentences, or pairs, and their classes."""

    first: tuple[str, ...]
    second: tuple[str, ...] | None
    labels: tuple[int, ...]
    digest: str = field(repr=False)

    def texts(self) -> tuple[str, ...]:
        """All sentences."""
        return self.first if self.second is None else (*self.first, *self.second)

    def samples(self) -> Iterator[tuple[str, ...]]:
        """Each sentence, or each pair."""
        return zip(self.first) if self.second is None else zip(self.first, self.second, strict=True)


def folder_of(name: str, data_root: str | None) -> Path | None:
    """Where a data set is below the data root, or None."""
    if data_root is None:
        return None
    places = (Path(data_root) / root / LAYOUTS[name].folder for root in ROOTS)
    return next((place for place in places if all((place / file).is_file() for file in FILES.values())), None)


def missing_files(name: str, data_root: str | None) -> str | None:
    """What is missing below the data root, and how to get it, in one line; None where all is there."""
    folder = LAYOUTS[name].folder
    if data_root is None:
        return f"no data root for {folder}: {remedy(name, None, f'give --data-root DIR with {folder}/train.tsv and {folder}/dev.tsv')}"
    if folder_of(name, data_root) is None:
        return f"{Path(data_root) / folder} lacks train.tsv or dev.tsv: {remedy(name, data_root, 'give --data-root DIR with both')}"
    return None


def size(name: str, split: Split, data_root: str | None) -> int:
    """Rows of a split: of the file where it is there, else of the original."""
    layout, folder = LAYOUTS[name], folder_of(name, data_root)
    if folder is None:
        return layout.train if split == "train" else layout.test
    path = folder / FILES[split]
    return max(0, _count(path, _stamp(path)) - layout.header)


@functools.lru_cache(maxsize=16)
def _count(path: Path, stamp: tuple[int, int]) -> int:
    return count_rows(path)


def check(name: str, data_root: str | None, validation: int) -> list[str]:
    """Read both files before anything is planned; returns what a user has to know, one line each.

    Raises:
        ValueError: in one line: as :func:`read` does; or training rows are all of one class, or no more than are held out.
    """
    train, test = (read(name, split, data_root) for split in FILES)
    folder = folder_of(name, data_root)
    assert folder is not None
    return check_labels(train.labels, test.labels, LAYOUTS[name].labels, str(folder / FILES["train"]), validation=validation)


def read(name: str, split: Split, data_root: str | None) -> Rows:
    """A split of a data set; kept in memory.

    Raises:
        ValueError: in one line: a file is missing, or rows have the wrong columns, no text or an unknown label.
    """
    problem, folder = missing_files(name, data_root), folder_of(name, data_root)
    if folder is None:
        raise ValueError(problem)
    path = (folder / FILES[split]).resolve()
    return _read(name, str(path), _stamp(path))


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


@functools.lru_cache(maxsize=16)
def _read(name: str, path: str, stamp: tuple[int, int]) -> Rows:
    layout = LAYOUTS[name]
    wanted = [layout.columns.index(column) for column in (layout.label, *layout.texts)]
    rows: list[list[str]] = []
    problems: list[str] = []
    # as GLUE is read everywhere: without quoting, and MRPC's dev.tsv begins with a byte order mark
    lines = read_rows(Path(path))
    if not lines:
        raise ValueError(f"{path}: the file is empty: restore it")
    if layout.header and (header := lines[0].split("\t")) != list(layout.columns):
        raise ValueError(f"{path}: row 1: the columns are {', '.join(header)}; expected the header {', '.join(layout.columns)}: add or correct it")
    for number, line in enumerate(lines[layout.header :], 1 + layout.header):
        row = line.split("\t")
        problem = _problem(row, layout)
        if problem is not None:
            problems.append(f"row {number}: {problem}")
        else:
            rows.append([row[column] for column in wanted])
    if problems:
        more = f" and {len(problems) - NAMED_ROWS} more" if len(problems) > NAMED_ROWS else ""
        raise ValueError(f"{path}: {'; '.join(problems[:NAMED_ROWS])}{more}: fix or remove them")
    if not rows:
        raise ValueError(f"{path}: it has no rows but the header: restore them")
    names, first, *second = zip(*rows, strict=True)
    digest = hashlib.sha256("\n".join("\t".join(texts) for texts in rows).encode()).hexdigest()
    return Rows(first, second[0] if second else None, tuple(layout.labels.index(name) for name in names), digest)


def _problem(row: list[str], layout: Layout) -> str | None:
    if row == [""]:
        return "a blank line"
    if len(row) != len(layout.columns):
        return f"{len(row)} columns instead of {len(layout.columns)}"
    values = dict(zip(layout.columns, row, strict=True))
    blank = next((column for column in layout.texts if not values[column].strip()), None)
    if blank is not None:
        return f"no text in column {blank!r}"
    if values[layout.label] not in layout.labels:
        return f"label {values[layout.label]!r} is none of {', '.join(layout.labels)}"
    return None
