"""Vocabularies: words or characters, and the ends of a sentence."""

from __future__ import annotations

import string
from collections.abc import Iterable
from dataclasses import dataclass

PADDING = -100
"""Comes after the end of a sentence in targets, as the field's cross-entropy ignores it."""


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by their ids 0 … V − 1; the end of a sentence is V, its start V + 1.

    A network gives scores of V + 1 classes: the start is fed to a decoder and never predicted.

    Attributes:
        tokens: words or characters.
        separator: between the tokens of a transcript.
    """

    tokens: tuple[str, ...]
    separator: str

    @property
    def end(self) -> int:
        """Id of the end of a sentence."""
        return len(self.tokens)

    @property
    def start(self) -> int:
        """Id of the start of a sentence."""
        return len(self.tokens) + 1

    @property
    def classes(self) -> int:
        """Number of classes that are scored: the tokens and the end."""
        return len(self.tokens) + 1

    def encode(self, transcript: str) -> list[int]:
        """Ids of a transcript, the end of the sentence last.

        Raises:
            ValueError: it is empty, or holds what is no token.
        """
        known = {token: position for position, token in enumerate(self.tokens)}
        found = transcript.split(self.separator) if self.separator else list(transcript)
        if not transcript.strip():
            raise ValueError("the transcript is empty")
        unknown = next((token for token in found if token not in known), None)
        if unknown is not None:
            raise ValueError(f"unknown token {unknown!r} in the transcript {transcript!r}")
        return [*(known[token] for token in found), self.end]

    def text(self, ids: Iterable[int]) -> str:
        """The transcript of ids up to the end of the sentence."""
        found = []
        for position in ids:
            if not 0 <= position < self.end:
                break
            found.append(self.tokens[position])
        return self.separator.join(found)


DIGITS = Vocabulary(("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"), " ")
CHARACTERS = Vocabulary((" ", "'", *string.ascii_lowercase), "")
"""LibriSpeech's letters, in lower case."""
