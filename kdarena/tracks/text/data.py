"""The track's data sets as token ids; imports neither torch nor the field's libraries before they are used."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kdarena.tracks.overlap import texts_in_train
from kdarena.tracks.text import checkpoint, glue, grammar
from kdarena.tracks.text.samples import OwnTexts
from kdarena.tracks.text.vocabulary import Morphemes, WordPieces, train_wordpieces

if TYPE_CHECKING:
    import numpy as np


PROBE = (("Héllo, World's 2nd — probe",), ("a pair",))
"""A pair that two tokenizers with the same tokens may still cut differently, as by capitals."""


@dataclass(frozen=True, eq=False)
class Tokens:
    """A split.

    Attributes:
        ids: of all sentences one behind the other, without padding.
        lengths: tokens of each sentence [N].
        labels: [N] of int64.
    """

    ids: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True, eq=False)
class TextData:
    """Both splits; validation is a part of ``train``.

    Attributes:
        vocabulary: number of token ids.
        separator: id of the token that ends each sentence.
        fixed_validation: whether the last samples of ``train`` are the validation part.
        labels: names of the classes, by which a fine-tuned classifier's head is taken; None: heads are new.
        overlap: how many of the test split's texts are also in ``train``.
        class_names: of the classes, for those who use a student elsewhere; empty: their numbers.
        vocabulary_file: gives name and text of the file that makes ids of texts elsewhere.
        tokenizer_padding: id of padding in that file, which changes places with 0 here.
    """

    train: Tokens
    test: Tokens
    vocabulary: int
    separator: int
    fixed_validation: bool
    overlap: int | None = None
    labels: tuple[str, ...] | None = None
    class_names: tuple[str, ...] = ()
    vocabulary_file: Callable[[], tuple[str, str]] | None = None
    tokenizer_padding: int = 0


@functools.cache
def load_grammar() -> TextData:
    """The generated minimal pairs."""
    sentences, vocabulary = grammar.sentences(), Morphemes()

    def tokens(*parts: str) -> Tokens:
        chosen = [sentence for part in parts for sentence in sentences[part]]
        labels = [int(sentence.acceptable) for sentence in chosen]
        return _tokens(vocabulary.encode(sentence.morphemes for sentence in chosen), labels)

    trained = [sentence.morphemes for part in ("train", "validation") for sentence in sentences[part]]
    overlap = texts_in_train([sentence.morphemes for sentence in sentences["test"]], trained)
    train, test, names = tokens("train", "validation"), tokens("test"), ("unacceptable", "acceptable")
    return TextData(train, test, vocabulary.size, vocabulary.separator, True, overlap, class_names=names, vocabulary_file=vocabulary.file)


def grammar_digest() -> str:
    """16 hexadecimal digits of the sha256 of all sentences and labels."""
    hashed = hashlib.sha256()
    for part, sentences in grammar.sentences().items():
        for sentence in sentences:
            hashed.update(f"{part}\t{sentence.acceptable:d}\t{' '.join(sentence.morphemes)}\n".encode())
    return hashed.hexdigest()[:16]


def load_glue(name: str, data_root: str | None, checkpoints: Sequence[str] = ()) -> TextData:
    """One of GLUE's data sets, in the checkpoints' vocabulary or in one of its own training split.

    Raises:
        ValueError: in one line: a file is missing or has bad rows, or the checkpoints have different vocabularies.
    """
    train, test = (glue.read(name, split, data_root) for split in glue.FILES)
    vocabulary = shared_vocabulary(checkpoints) if checkpoints else train_wordpieces(train.texts())
    splits = [_tokens(vocabulary.encode(rows.first, rows.second), rows.labels) for rows in (train, test)]
    overlap, names = texts_in_train(test.samples(), train.samples()), glue.LAYOUTS[name].labels
    elsewhere: dict[str, Any] = {"class_names": names, "vocabulary_file": vocabulary.file, "tokenizer_padding": vocabulary.padding}
    return TextData(splits[0], splits[1], vocabulary.size, vocabulary.separator, False, overlap, **elsewhere)


def glue_digest(name: str, data_root: str | None, checkpoints: Sequence[str] = ()) -> str:
    """16 hexadecimal digits of the sha256 of both files' rows and of the checkpoints."""
    parts = (*(glue.read(name, split, data_root).digest for split in glue.FILES), *map(checkpoint.digest, checkpoints))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def load_own(own: OwnTexts, checkpoints: Sequence[str] = ()) -> TextData:
    """Texts of the user's own, in the checkpoints' vocabulary or in one of their training part.

    Raises:
        ValueError: in one line: the checkpoints have different vocabularies.
    """
    trained_on = own.train.where(range(len(own.train) - own.validation)) if own.fixed else own.train
    vocabulary = shared_vocabulary(checkpoints) if checkpoints else train_wordpieces(trained_on.texts())
    number = {name: place for place, name in enumerate(own.labels)}
    train, test = (_tokens(vocabulary.encode(part.first, part.second), [number[name] for name in part.labels]) for part in (own.train, own.test))
    overlap = texts_in_train(own.test.rows(), own.train.rows())
    elsewhere: dict[str, Any] = {"class_names": own.labels, "vocabulary_file": vocabulary.file, "tokenizer_padding": vocabulary.padding}
    return TextData(train, test, vocabulary.size, vocabulary.separator, own.fixed, overlap, own.labels, **elsewhere)


def shared_vocabulary(checkpoints: Sequence[str]) -> WordPieces:
    """The vocabulary of some checkpoints; raises ``ValueError`` in one line where theirs differ."""
    first, *others = (checkpoint.vocabulary(folder) for folder in checkpoints)
    for folder, other in zip(checkpoints[1:], others, strict=True):
        if other.tokens() != first.tokens() or other.encode(*PROBE) != first.encode(*PROBE):
            raise ValueError(f"{folder}: its vocabulary differs from that of {checkpoints[0]}; teacher and student have to share one")
    return first


def _tokens(ids: Sequence[Sequence[int]], labels: Sequence[int]) -> Tokens:
    import numpy as np

    lengths = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
    flat = np.fromiter((one for each in ids for one in each), dtype=np.int32, count=int(lengths.sum()))
    return Tokens(flat, lengths, np.asarray(labels, dtype=np.int64))
