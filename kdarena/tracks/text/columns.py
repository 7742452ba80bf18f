"""Which columns of a table are the text, or the two texts, and the label: by name, by what the user says, or by what is in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kdarena.tracks.text.table import Row, Table

TEXT = ("text", "sentence", "content", "review", "comment", "body", "message", "tweet", "utterance", "document", "question", "query", "title")
PAIRS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("sentence_a", "sentence_b"),
    ("text", "text_pair"),
    ("question", "sentence"),
    ("question", "answer"),
    ("question", "passage"),
    ("question", "context"),
    ("query", "passage"),
    ("query", "document"),
    ("#1_string", "#2_string"),
)
LABEL = (
    *("label", "labels", "class", "target", "category", "gold_label", "sentiment", "intent", "topic", "emotion", "polarity", "is_duplicate", "quality"),
    *("stars", "rating", "score", "y"),
)
MOST_CLASSES = 1000


@dataclass(frozen=True)
class Columns:
    """Places of the columns in a row, from 0.

    Attributes:
        texts: of the text, or of the two.
        label: of the label.
        names: of all columns, or their numbers from 1, for messages.
        header: whether the first row is no data.
    """

    texts: tuple[int, ...]
    label: int
    names: tuple[str, ...]
    header: bool


def find_columns(table: Table, typed: str | None) -> Columns:
    """The columns of a table.

    Args:
        typed: names, or numbers from 1, of one or two columns of text and of the label's, parted by commas.

    Raises:
        ValueError: in one line that lists the columns: they can't be told from each other, or one that was named is not there.
    """
    first = table.columns or tuple(str(value) for value in table.rows[0].values)
    if typed is not None:
        return _typed(table, first, typed)
    named = _by_name(first)
    if isinstance(named, tuple):
        return Columns(named[:-1], named[-1], first, table.columns is None)
    width = len(first)
    if width < 2:
        raise ValueError(
            f"{table.path}: there is only one column, {first[0][:40]!r}: a text and its label are needed, parted by a tab in .tsv and by a comma in .csv"
        )
    by_content = None if table.columns is not None or named else _by_content(table.rows)
    if by_content is None:
        problem = f"columns {', '.join(named)} may all be it" if named else "the text's or the label's column has no name that is known"
        raise ValueError(
            f"{table.path}: {problem}; name the text's (one or two) and the label's: --columns TEXT,LABEL; the columns are {', '.join(_short(name) for name in first)}"
        )
    return Columns(*by_content, tuple(f"{number}" for number in range(1, width + 1)), False)


def unlabelled(table: Table, typed: str | None) -> bool:
    """Whether a table has columns of text but none of labels, as public files have whose labels are hidden."""
    names = {_normal(name) for name in table.columns or map(str, table.rows[0].values)}
    if typed is not None:
        *texts, label = (_normal(name) for name in typed.split(","))
        if all(name.isdecimal() for name in (*texts, label)):
            return max(map(int, (*texts, label))) > len(table.rows[0].values)
        return label not in names and names.issuperset(texts)
    return not names & set(LABEL) and bool(names & {*TEXT, *(name for pair in PAIRS for name in pair)})


def _short(name: str) -> str:
    return repr(name if len(name) <= 30 else f"{name[:29]}…")


def _normal(name: str) -> str:
    return re.sub(r"[\s\-]+", "_", name.strip().lower())


def _typed(table: Table, first: tuple[str, ...], typed: str) -> Columns:
    wanted = [name.strip() for name in typed.split(",") if name.strip()]
    if len(wanted) not in (2, 3):
        raise ValueError(f"--columns {typed}: expected TEXT,LABEL or FIRST,SECOND,LABEL, each the name of a column or its number from 1")
    if len(set(wanted)) < len(wanted):
        raise ValueError(f"--columns {typed}: a column is named twice")
    exact = {name.strip(): place for place, name in reversed(list(enumerate(first)))}
    loose = {_normal(name): place for place, name in reversed(list(enumerate(first)))}
    places = [exact.get(name, loose.get(_normal(name))) for name in wanted]
    if None not in places:
        *texts, label = (place for place in places if place is not None)
        return Columns(tuple(texts), label, first, table.columns is None)
    if all(name.isdecimal() and 1 <= int(name) <= len(first) for name in wanted):
        *texts, label = (int(name) - 1 for name in wanted)
        # by numbers, so the first row may be a header or not: it is one where its label is nowhere else
        header = table.columns is None and (_by_name(first) is not None or _is_header(table.rows, label))
        return Columns(tuple(texts), label, first if header or table.columns else tuple(str(number) for number in range(1, len(first) + 1)), header)
    unknown = [name for name, place in zip(wanted, places, strict=True) if place is None]
    absent = next((name for name in unknown if not (name.isdecimal() and 1 <= int(name) <= len(first))), unknown[0])
    raise ValueError(f"{table.path}: --columns {typed}: there is no column {absent!r}; the columns are {', '.join(_short(name) for name in first)}")


def _by_name(first: Sequence[str]) -> tuple[int, ...] | list[str] | None:
    """Places of the texts and the label; or the names between which it can't be decided; None where no name is known."""
    place = {_normal(name): number for number, name in reversed(list(enumerate(first)))}
    labels = [name for name in LABEL if name in place]
    label = labels[0] if labels and (len(labels) == 1 or labels[0] == "label") else None
    pairs = [pair for pair in PAIRS if pair[0] in place and pair[1] in place and label not in pair]
    texts = [name for name in TEXT if name in place and name != label]
    chosen: tuple[str, ...] | None = pairs[0] if len(pairs) == 1 else None
    if chosen is None and not pairs:
        chosen = (texts[0],) if len(texts) == 1 or texts[:1] == ["text"] else None
    if label is not None and len(first) == 2 and not texts and not pairs:
        return (1 - place[label], place[label])
    if label is not None and chosen is not None:
        return (*(place[name] for name in chosen), place[label])
    doubtful: list[str] = labels if len(labels) > 1 and label is None else []
    if not doubtful and chosen is None:
        doubtful = [name for pair in pairs for name in pair] or texts
    if not labels and not texts and not pairs:
        return None
    return [first[place[name]] for name in dict.fromkeys(doubtful)] if len(doubtful) > 1 else []


def _by_content(rows: Sequence[Row]) -> tuple[tuple[int, ...], int] | None:
    """Of two columns without a header: that of few values that come again and again is the label's, the other is text."""
    if len(rows[0].values) != 2 or len(rows) < 4:
        return None
    columns = [[str(row.values[place]).strip() for row in rows] for place in (0, 1)]
    few = [len(set(column)) <= min(MOST_CLASSES, len(rows) // 2) and max(map(len, column)) <= 60 for column in columns]
    spoken = [sum(" " in value for value in column) > len(column) / 2 for column in columns]
    for label, text in ((0, 1), (1, 0)):
        if few[label] and not spoken[label] and spoken[text] and len(set(columns[text])) > len(set(columns[label])) and not _is_header(rows, label):
            return (text,), label
    return None


def _is_header(rows: Sequence[Row], label: int) -> bool:
    """Whether the first row's label is no label of any other row."""
    first = str(rows[0].values[label]).strip()
    return len(rows) > 1 and all(str(row.values[label]).strip() != first for row in rows[1:])
