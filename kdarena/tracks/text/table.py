"""Tables of text as people have them, read to rows of named or numbered columns: ``.tsv``, ``.csv``, ``.jsonl``, ``.json`` and ``.parquet``.

Every value is kept as it is written in the file, and every row knows its line, so that what is wrong can be named.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUFFIXES = (".tsv", ".csv", ".txt", ".jsonl", ".ndjson", ".json", ".parquet")
LONGEST_FIELD = 1_000_000
"""Characters of a field; a longer one is most likely a quotation mark that nothing closes."""
NAMED_ROWS = 5
"""Bad rows that an error names."""
DELIMITERS = {".tsv": "\t", ".txt": "\t", ".csv": ",;\t|"}
_WIDE = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@dataclass(frozen=True)
class Row:
    """A row's values, None where a value is missing, and the number of the line on which it begins (of a parquet file, of the row), from 1."""

    line: int
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Table:
    """The rows of a file.

    Attributes:
        path: of the file.
        columns: their names; None where the file's first row is a row like all others, or may be.
        rows: without blank ones.
        blank: rows without any value that were left out.
        unit: what a row's number counts.
    """

    path: Path
    columns: tuple[str, ...] | None
    rows: tuple[Row, ...]
    blank: int = 0
    unit: str = "line"


def read_table(path: Path) -> Table:
    """The table in a file, by its name's ending.

    Raises:
        ValueError: in one line: with file and line: it can't be read, is empty, of an unknown kind or encoding, or its rows don't have the same columns.
    """
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        raise ValueError(f"{path}: unknown kind of file {path.suffix!r}: give one of {', '.join(SUFFIXES)}, or a folder with train and test files")
    if kind == ".parquet":
        return _parquet(path)
    text = _text(path)
    if not text.strip():
        raise ValueError(f"{path}: the file is empty: add rows")
    table = _objects(path, text, kind) if kind in (".jsonl", ".ndjson", ".json") else _delimited(path, text, kind)
    if not table.rows:
        raise ValueError(f"{path}: it has no rows: add some")
    return table


def problems(path: Path, found: Sequence[str], to_do: str) -> ValueError:
    """An error that names the first few problems of a file."""
    more = f" and {len(found) - NAMED_ROWS} more" if len(found) > NAMED_ROWS else ""
    return ValueError(f"{path}: {'; '.join(found[:NAMED_ROWS])}{more}: {to_do}")


# bytes to text
def _text(path: Path) -> str:
    """The file's text, whose lines end with a line feed."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: it can't be read: {error.strerror}") from None
    encoding = next((name for mark, name in _WIDE if content.startswith(mark)), "utf-8-sig")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig":
            raise ValueError(f"{path}: it begins like UTF-16, but {error.reason}: save it in UTF-8") from None
        content = content.removeprefix(codecs.BOM_UTF8)
        line = 1 + _ends(content[: error.start])
        byte = content[error.start] if error.start < len(content) else 0
        raise ValueError(
            f"{path}: line {line}: byte 0x{byte:02x} is not UTF-8, the file may be Latin-1 or Windows-1252: save it in UTF-8 (iconv -f cp1252 -t utf-8)"
        ) from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        line = 1 + text.count("\n", 0, text.index("\0"))
        raise ValueError(f"{path}: line {line}: a NUL character: the file is damaged or no text; save it in UTF-8 without it")
    return text


def _ends(content: bytes) -> int:
    return content.count(b"\n") + content.count(b"\r") - content.count(b"\r\n")


# rows of fields
def _delimited(path: Path, text: str, kind: str) -> Table:
    if kind != ".csv":
        return _checked(path, _tabbed(path, text, DELIMITERS[kind]))
    first = next(line for line in text.split("\n") if line.strip())
    there = [mark for mark in DELIMITERS[kind] if mark in first] or [DELIMITERS[kind][0]]
    for delimiter in there[1:] and there:
        with contextlib.suppress(ValueError):
            rows = _quoted(path, text, delimiter)
            if _even(rows):
                return _checked(path, rows)
    return _checked(path, _quoted(path, text, there[0]))


def _tabbed(path: Path, text: str, delimiter: str) -> list[Row]:
    """Rows that may or may not be written with quotation marks: most public files are not, and what a table's program saves is.

    They are read as quoted where that makes rows of the same length of the same lines, or where nothing else makes a table.
    """
    plain = [Row(number, tuple(line.split(delimiter))) for number, line in enumerate(text.split("\n"), 1) if line.strip(delimiter + " ")]
    if '"' not in text:
        return plain
    try:
        quoted = _quoted(path, text, delimiter)
    except ValueError:
        return plain
    if not _even(quoted):
        return plain
    return quoted if not _even(plain) or [row.line for row in quoted] == [row.line for row in plain] else plain


def _even(rows: Sequence[Row]) -> bool:
    return len({len(row.values) for row in rows}) == 1


def _quoted(path: Path, text: str, delimiter: str) -> list[Row]:
    """Rows by the rules of CSV."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows, begins = [], 1
    previous = csv.field_size_limit(LONGEST_FIELD)
    try:
        for values in reader:
            if any(value.strip() for value in values):
                rows.append(Row(begins, tuple(values)))
            begins = reader.line_num + 1
    except csv.Error as error:
        what = str(error)
        if "unexpected end" in what or "field larger" in what:
            raise ValueError(
                f"{path}: the row that begins in line {begins}: a quotation mark is never closed: close it, or double it inside of a text"
            ) from None
        raise ValueError(f"{path}: line {reader.line_num}: text behind a closing quotation mark: double the quotation marks inside of a text") from None
    finally:
        csv.field_size_limit(previous)
    return rows


def _checked(path: Path, rows: list[Row]) -> Table:
    """A table of rows that are all as long as the first."""
    width = len(rows[0].values)
    if all(not row.values[-1].strip() for row in rows) and width > 1:  # a delimiter at the end of every line
        width -= 1
        rows = [Row(row.line, row.values[:-1]) if len(row.values) == width + 1 else row for row in rows]
    ragged = [f"line {row.line}: {len(row.values)} columns instead of {width}" for row in rows if len(row.values) != width]
    if ragged:
        raise problems(path, ragged, "quote a text that has the delimiter in it, or remove the rows")
    longest = next((row for row in rows for value in row.values if len(value) > LONGEST_FIELD), None)
    if longest is not None:
        raise ValueError(f"{path}: line {longest.line}: a field of more than {LONGEST_FIELD:,} characters: shorten or remove it")
    return Table(path, None, tuple(rows))


# objects
def _objects(path: Path, text: str, kind: str) -> Table:
    objects = list(_one_a_line(path, text))
    if kind == ".json" or text.lstrip().startswith("["):
        objects = _array(path, text, objects)
    wrong = [f"line {line}: {type(value).__name__} instead of an object" for line, value in objects if not isinstance(value, dict)]
    if wrong:
        raise problems(path, wrong, 'write one object a line, as {"text": "…", "label": "…"}')
    blank = sum(not value for _, value in objects)
    filled = [(line, value) for line, value in objects if value]
    columns = tuple(dict.fromkeys(name for _, value in filled for name in value))
    return Table(path, columns, tuple(Row(line, tuple(value.get(name) for name in columns)) for line, value in filled), blank)


def _one_a_line(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    whole = text.lstrip().startswith("[")
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                if whole or path.suffix.lower() == ".json":
                    return
                raise ValueError(f"{path}: line {number}: no JSON: {error}: write one object a line") from None


def _array(path: Path, text: str, objects: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """A list of objects that is the whole file; or objects one a line, which some call ``.json`` as well."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        if objects and all(isinstance(value, dict) for _, value in objects) and len(objects) == sum(bool(line.strip()) for line in text.split("\n")):
            return objects
        raise ValueError(f"{path}: no JSON: {error}") from None
    if isinstance(content, dict):
        content = next((value for value in content.values() if isinstance(value, list)), [content])
    return list(enumerate(content, 1)) if isinstance(content, list) else [(1, content)]


def _parquet(path: Path) -> Table:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import read_table as read_parquet
    except ImportError:
        raise ValueError(f"{path}: pyarrow is not installed, which reads parquet: pip install 'kdarena[parquet]'") from None
    try:
        found = read_parquet(path, memory_map=False)
    except (OSError, ArrowException, ValueError) as error:
        raise ValueError(f"{path}: it can't be read as parquet: {' '.join(str(error).split())[:200]}") from None
    if not found.num_rows:
        raise ValueError(f"{path}: it has no rows: add some")
    columns = [column.to_pylist() for column in found.columns]
    named = _class_names(found.schema)
    columns = [
        [names[value] if isinstance(value, int) and 0 <= value < len(names) else value for value in values] if (names := named.get(name)) else values
        for name, values in zip(found.column_names, columns, strict=True)
    ]
    return Table(path, tuple(found.column_names), tuple(Row(number, values) for number, values in enumerate(zip(*columns, strict=True), 1)), unit="row")


def _class_names(schema: Any) -> dict[str, list[str]]:
    """The names of classes that Hugging Face's ``datasets`` writes into a file, by column."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {name: list(feature["names"]) for name, feature in features.items() if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
