"""Labelled texts of the user's own files: which files are which part, what is wrong with them, and the part that every row belongs to."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kdarena.tracks.text.columns import MOST_CLASSES, Columns, find_columns, unlabelled
from kdarena.tracks.text.table import SUFFIXES, Table, problems, read_table

Part = Literal["train", "validation", "test"]
PARTS: dict[Part, tuple[str, ...]] = {"train": ("train", "training"), "validation": ("validation", "valid", "val", "dev"), "test": ("test", "testing")}
"""Beginnings of the names of files in a folder, each whole or with a separator behind it, as ``train-00000-of-00002``."""
TEST_SHARE = 0.2
"""Of the rows of a single file; each row's own text decides, so that further rows move none."""
MISSING = ("", "nan", "<na>")
"""Values that stand for no label; ``none`` and ``NA`` are labels that some data have."""
HIDDEN = "-1"
"""The label that public files give to what nobody may see."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Texts, or pairs, with the names of their labels."""

    first: tuple[str, ...]
    second: tuple[str, ...] | None
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def texts(self) -> tuple[str, ...]:
        """All texts."""
        return self.first if self.second is None else (*self.first, *self.second)

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Each text, or each pair."""
        return zip(self.first) if self.second is None else zip(self.first, self.second, strict=True)

    def where(self, chosen: Sequence[int]) -> Samples:
        """Those at some places."""
        first, labels = (tuple(values[place] for place in chosen) for values in (self.first, self.labels))
        return Samples(first, None if self.second is None else tuple(self.second[place] for place in chosen), labels)

    def joined(self, other: Samples) -> Samples:
        """These and others behind them."""
        second = None if self.second is None or other.second is None else self.second + other.second
        return Samples(self.first + other.first, second, self.labels + other.labels)


@dataclass(frozen=True, eq=False)
class OwnTexts:
    """What a file or folder has.

    Attributes:
        train: of which the last ``validation`` are the validation part where that is ``fixed``.
        test: never trained on.
        validation: rows of the validation part.
        fixed: whether the validation part is a file of its own.
        labels: names of the classes, in their order.
        notes: what the user has to know, one line each.
        digest: 16 hexadecimal digits of texts, labels and parts.
        places: of a single file, the rows of it that are train, then those that are test, from 0, without its header; else None.
    """

    train: Samples
    test: Samples
    validation: int
    fixed: bool
    labels: tuple[str, ...]
    notes: tuple[str, ...]
    digest: str
    places: tuple[tuple[int, ...], tuple[int, ...]] | None = None


def files_of(place: Path) -> dict[Part, list[Path]]:
    """The files of a folder by the parts that they are; of a single file it alone, as ``train``.

    Raises:
        ValueError: in one line: there is no such place, no file of a part, or files of several kinds for one.
    """
    if not place.exists():
        raise ValueError(f"{place}: no such file or folder: give --text a file or a folder that is there")
    if not place.is_dir():
        return {"train": [place]}
    here = sorted(path for path in place.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith("."))
    found: dict[Part, list[Path]] = {}
    for part, names in PARTS.items():
        paths = [path for path in here if re.fullmatch(rf"(?:{'|'.join(names)})(?:[-_.].*)?", path.stem.lower())]
        if len({path.suffix.lower() for path in paths}) > 1:
            raise ValueError(f"{place}: {', '.join(path.name for path in paths)} may all be the {part} part: leave one kind of file there")
        if paths:
            found[part] = paths
    if not found and (place / "data").is_dir():  # as public repositories of data sets have it
        return files_of(place / "data")
    if "train" not in found or len(found) < 2:
        lacks = "train" if "train" not in found else "test"
        listed = f"only {', '.join(path.name for path in here[:5])}" if here else "no file of texts"
        raise ValueError(
            f"{place}: lacks {lacks}.tsv (or {', '.join(SUFFIXES[1:])}); it has {listed}: name the files train, validation and test, or give --text one file"
        )
    return found


def read_samples(path: Path, typed: str | None) -> tuple[Samples, list[str]]:
    """The labelled texts of a file, and what the user has to know about it.

    Raises:
        ValueError: in one line, with file and line.
    """
    table = read_table(path)
    columns = find_columns(table, typed)
    rows = table.rows[1:] if columns.header else table.rows
    if not rows:
        raise ValueError(f"{path}: it has no rows but the header: add some")
    wrong = [f"{table.unit} {row.line}: {problem}" for row in rows if (problem := _problem(row.values, columns)) is not None]
    if wrong:
        raise problems(path, wrong, "fill them in or remove the rows")
    texts = [tuple(row.values[place] for row in rows) for place in columns.texts]
    labels = _labels(table, columns, [(row.line, row.values[columns.label]) for row in rows])
    notes = [f"{path}: {table.blank} rows without any value are left out"] if table.blank else []
    return Samples(texts[0], texts[1] if len(texts) > 1 else None, labels), notes


def _problem(values: Sequence[Any], columns: Columns) -> str | None:
    for place in columns.texts:
        text = values[place]
        if text is None or (isinstance(text, str) and not text.strip()):
            return f"no text in column {columns.names[place]!r}"
        if not isinstance(text, str):
            return f"{str(text)[:40]!r} in column {columns.names[place]!r} is no text"
        if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
            return f"half a character (a lone surrogate) in column {columns.names[place]!r}"
    label = values[columns.label]
    if isinstance(label, (list, dict)):
        return f"{str(label)[:40]} in column {columns.names[columns.label]!r} is no single label"
    return f"no label in column {columns.names[columns.label]!r}" if label is None or str(label).strip().lower() in MISSING else None


def _labels(table: Table, columns: Columns, found: Sequence[tuple[int, Any]]) -> tuple[str, ...]:
    """Names of labels; whole numbers without a decimal point."""
    names = [str(value).strip() for _, value in found]
    numbers = [_number(name) for name in names]
    column = f"{table.path}: column {columns.names[columns.label]!r}"
    if all(number is not None for number in numbers):
        fraction = next((place for place, number in enumerate(numbers) if number != math.floor(number or 0)), None)
        if fraction is not None:
            raise ValueError(
                f"{column} has numbers with decimals ({names[fraction]} in {table.unit} {found[fraction][0]}): only classes can be learnt, no values: round them to classes, or name another column"
            )
        names = [str(int(number or 0)) for number in numbers]
    count = len(set(names))
    if count > MOST_CLASSES or (len(names) >= 20 and count > len(names) // 2):
        raise ValueError(f"{column} has {count} different labels in {len(names)} rows: is it the label's? name it by --columns TEXT,LABEL")
    return tuple(names)


def _number(name: str) -> float | None:
    try:
        number = float(name)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


# parts and classes
def read_own(place: Path, typed: str | None) -> OwnTexts:
    """A file or folder, in its parts.

    Raises:
        ValueError: in one line: see :func:`files_of` and :func:`read_samples`; or there is one class only, or a part would be empty.
    """
    parts: dict[Part, Samples] = {}
    notes: list[str] = []
    files = files_of(place)
    for part, paths in files.items():
        if part == "test" and "validation" in files and all(unlabelled(read_table(path), typed) for path in paths):
            notes.append(f"{place}: the test file has no labels, so it is not used")
            continue
        for path in paths:
            samples, own = read_samples(path, typed)
            notes += own
            if part in parts and (samples.second is None) != (parts[part].second is None):
                raise ValueError(f"{path}: it has another number of text columns than {paths[0].name}: name them by --columns")
            parts[part] = parts[part].joined(samples) if part in parts else samples
    if len({samples.second is None for samples in parts.values()}) > 1:
        raise ValueError(f"{place}: some files have one column of text, others two: name them by --columns")
    _leave_out_hidden(place, parts, notes)
    labels, places = _classes(place, parts), None
    if len(parts) == 1:
        places = _cut(parts["train"])
        train, test = map(parts["train"].where, places)
        if not len(train) or not len(test):
            raise ValueError(f"{place}: {len(parts['train'])} rows are too few to keep some for a test: add rows, or give a folder with train and test files")
        parts = {"train": train, "test": test}
    elif "test" not in parts:
        notes.append(f"{place}: there are no labelled test rows, so the validation file is the test part, and validation is cut from train")
        parts["test"] = parts.pop("validation")
    fixed = "validation" in parts
    train = parts["train"].joined(parts["validation"]) if fixed else parts["train"]
    validation = len(parts["validation"]) if fixed else max(1, min(len(parts["test"]), 5_000, len(train) // 5))
    notes += _doubts(place, parts)
    return OwnTexts(train, parts["test"], validation, fixed, labels, tuple(notes), _digest(parts), places)


def _leave_out_hidden(place: Path, parts: dict[Part, Samples], notes: list[str]) -> None:
    """A test file whose labels are hidden is no test."""
    if "test" in parts and "validation" in parts and set(parts["test"].labels) == {HIDDEN} and HIDDEN not in parts["train"].labels:
        del parts["test"]
        notes.append(f"{place}: the labels of the test file are hidden ({HIDDEN}), so it is not used")


def _classes(place: Path, parts: dict[Part, Samples]) -> tuple[str, ...]:
    """The labels' names: numbers by size, words by the alphabet."""
    counts = Counter(label for samples in parts.values() for label in samples.labels)
    if len(counts) < 2:
        raise ValueError(f"{place}: all {sum(counts.values())} rows are of one class, {next(iter(counts))!r}: add rows of another class")
    same = Counter(label.casefold() for label in counts)
    doubtful = [label for label in counts if same[label.casefold()] > 1]
    if doubtful:
        raise ValueError(f"{place}: labels {', '.join(map(repr, sorted(doubtful)))} differ in capital letters only: write each class in one way")
    numbers = {label: _number(label) for label in counts}
    if all(number is not None for number in numbers.values()):
        return tuple(sorted(counts, key=lambda label: numbers[label] or 0.0))
    return tuple(sorted(counts))


def _cut(samples: Samples) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Places of train and of test: a row is in test where the hash of its text says so, so that equal texts are in one part."""
    tested = [_fraction(row) < TEST_SHARE for row in samples.rows()]
    train, test = (tuple(place for place, is_test in enumerate(tested) if is_test == wanted) for wanted in (False, True))
    return train, test


def _fraction(row: tuple[str, ...]) -> float:
    """A number in [0, 1) that follows from the words of a row alone."""
    words = "\n".join(" ".join(text.split()) for text in row)
    return int.from_bytes(hashlib.blake2b(words.encode(errors="surrogatepass"), digest_size=8).digest(), "big") / 2**64


def _doubts(place: Path, parts: dict[Part, Samples]) -> list[str]:
    """What may be wrong with the rows of the parts, one line each."""
    labels: dict[tuple[str, ...], set[str]] = {}
    rows = 0
    for samples in parts.values():
        for row, label in zip(samples.rows(), samples.labels, strict=True):
            labels.setdefault(row, set()).add(label)
            rows += 1
    notes = []
    several = [row for row, names in labels.items() if len(names) > 1]
    if several:
        notes.append(f"{place}: {len(several)} texts have more than one label, as {several[0][0][:40]!r}: nothing can get all of them right")
    if rows > len(labels):
        notes.append(f"{place}: {rows - len(labels)} of {rows} rows repeat another row's text")
    return notes


def _digest(parts: dict[Part, Samples]) -> str:
    hashed = hashlib.sha256()
    for part, samples in parts.items():
        for row, label in zip(samples.rows(), samples.labels, strict=True):
            hashed.update(repr((part, row, label)).encode(errors="surrogatepass"))
    return hashed.hexdigest()[:16]
