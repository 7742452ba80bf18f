"""Rows of text files that people made: UTF-8, whatever ends a line, and what a file of labels has to have. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Sequence
from pathlib import Path

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_rows(path: Path) -> list[str]:
    """The rows of a file without their ends; a line feed, a carriage return or both end a row, and blank last ones are dropped.

    Raises:
        ValueError: in one line, with file and row: a byte is not UTF-8, or the file can't be read.
    """
    content = _content(path)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        row = 1 + _ends(content[: error.start])
        raise ValueError(f"{path}: row {row}: byte 0x{content[error.start]:02x} is not UTF-8: save the file in UTF-8") from None
    # and no other character, as str.splitlines would have it: a sentence may contain U+0085 or U+2028
    return re.split("\r\n|\r|\n", text) if text else []


def count_rows(path: Path) -> int:
    """How many rows :func:`read_rows` gives, without looking at them; 0 where the file can't be read, which the reading reports."""
    with contextlib.suppress(ValueError):
        content = _content(path)
        return _ends(content) + 1 if content else 0
    return 0


def _content(path: Path) -> bytes:
    """A file without a byte order mark and without its last row's end and the blank rows behind it."""
    try:
        content = path.read_bytes().removeprefix(BYTE_ORDER_MARK).rstrip(b"\r\n")
    except OSError as error:
        raise ValueError(f"{path}: it can't be read: {error.strerror}") from None
    while content and not (last := content[1 + max(content.rfind(b"\n"), content.rfind(b"\r")) :]).strip():
        content = content[: -len(last)].rstrip(b"\r\n")
    return content


def _ends(content: bytes) -> int:
    """Ends of lines in a text."""
    return content.count(b"\n") + content.count(b"\r") - content.count(b"\r\n")


def check_labels(train: Collection[int], test: Collection[int], names: Sequence[str], where: str, *, validation: int) -> list[str]:
    """Look at the labels of a classification; returns what a user has to know, one line each.

    Args:
        train, test: the classes of all samples, as numbers.
        names: of the classes.
        where: file or folder of the training samples.
        validation: how many samples of train are held out.

    Raises:
        ValueError: in one line: nothing is left to train on, or all of train is of one class.
    """
    if len(train) <= validation:
        raise ValueError(f"{where}: {len(train)} samples, of which {validation} are held out for validation, and none is left to train on: add samples")
    known = set(train)
    if len(known) < 2:
        raise ValueError(f"{where}: all {len(train)} samples are of one class, {names[min(known)]!r}: add samples of another class")
    strangers = sorted(set(test) - known)
    if not strangers:
        return []
    listed = ", ".join(repr(names[label]) for label in strangers)
    return [f"{where}: no sample of class {listed}, of which the test part has some: nothing can be learnt of it"]
