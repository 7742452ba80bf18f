"""From sentences to token ids: hashed stems for ``grammar``, a WordPiece vocabulary of the training split for the others.

In both, id 0 is padding, a sentence (pair) begins with [CLS], and each sentence ends with [SEP].
"""

from __future__ import annotations

import functools
import json
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from kdarena.tracks.text import lexicon

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
PADDING, UNKNOWN, BEGIN, SEPARATOR = range(len(SPECIAL))
STEM_TOKENS = 16
"""Tokens that all content words of ``grammar`` share."""
WORDPIECES = 8000
"""Pieces that are learnt, in addition to the single characters."""
LONGEST = 128
"""Tokens of a sentence or pair; the longer sentence of a pair is cut first."""


class Morphemes:
    """Function words and endings are tokens; a stem is one of a few tokens, by its checksum (feature hashing, arXiv 0902.2206).

    So the number of a word that training never saw can be read off its ending, and its token is a trained one.
    """

    separator = SEPARATOR

    def __init__(self) -> None:
        known = (*SPECIAL, *lexicon.CLOSED, *lexicon.ENDINGS)
        self._ids = {morpheme: number for number, morpheme in enumerate(known)}
        self.size = len(known) + STEM_TOKENS

    def encode(self, sentences: Iterable[Sequence[str]]) -> list[list[int]]:
        """Ids of sentences given as morphemes."""
        return [[BEGIN, *(self._id(morpheme) for morpheme in morphemes), SEPARATOR] for morphemes in sentences]

    def file(self) -> tuple[str, str]:
        """Name and text of a file from which ids are made elsewhere."""
        return "vocabulary.json", json.dumps({"tokens": list(self._ids), "stems": STEM_TOKENS}, indent=1) + "\n"

    def _id(self, morpheme: str) -> int:
        known = self._ids.get(morpheme)
        return known if known is not None else len(self._ids) + zlib.crc32(morpheme.encode()) % STEM_TOKENS


class WordPieces:
    """A vocabulary of the ``tokenizers`` library that puts a token at the end of each text.

    Args:
        tokenizer: of the library.
        separator: the token at the end of a text.
        padding: the tokenizer's own id of padding, which changes places with 0.
    """

    def __init__(self, tokenizer: Any, separator: str = "[SEP]", padding: int = PADDING):
        tokenizer.enable_truncation(LONGEST, strategy="longest_first")
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._swapped = {PADDING: padding, padding: PADDING}
        self.padding = padding
        self.size: int = tokenizer.get_vocab_size()
        own: int = tokenizer.token_to_id(separator)
        self.separator = self._swapped.get(own, own)

    def encode(self, first: Sequence[str], second: Sequence[str] | None = None) -> list[list[int]]:
        """Ids of sentences, or of pairs."""
        texts = list(first) if second is None else list(zip(first, second, strict=True))
        every = [encoded.ids for encoded in self._tokenizer.encode_batch(texts)]
        return every if self.padding == PADDING else [[self._swapped.get(one, one) for one in ids] for ids in every]

    def file(self) -> tuple[str, str]:
        """Name and text of a file from which ids are made elsewhere, as the ``tokenizers`` library keeps it."""
        return "tokenizer.json", str(self._tokenizer.to_str(pretty=True)) + "\n"

    def tokens(self) -> dict[str, int]:
        """All tokens and their ids."""
        vocabulary: dict[str, int] = self._tokenizer.get_vocab()
        return vocabulary


@functools.lru_cache(maxsize=2)
def train_wordpieces(texts: tuple[str, ...]) -> WordPieces:
    """A lower-case WordPiece vocabulary of at most 8,000 learnt pieces: the same for the same texts, and trained once in a process."""
    from tokenizers import models, processors, trainers

    trained = _lower_case(models.WordPiece(unk_token="[UNK]"))
    letters = sorted({letter for text in texts for letter in trained.normalizer.normalize_str(text) if not letter.isspace()})
    # given beforehand, since the trainer numbers what it meets in the order of a hash map, and breaks ties by number
    given = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    trainer = trainers.WordPieceTrainer(vocab_size=WORDPIECES + len(given), min_frequency=2, special_tokens=given, show_progress=False)
    trained.train_from_iterator(texts, trainer)
    # made anew of the pieces: a special token would be cut out of the text before anything else
    tokenizer = _lower_case(models.WordPiece(trained.get_vocab(), unk_token="[UNK]"))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", SEPARATOR), ("[CLS]", BEGIN))
    return WordPieces(tokenizer)


def _lower_case(model: Any) -> Any:
    from tokenizers import Tokenizer, normalizers, pre_tokenizers

    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer
