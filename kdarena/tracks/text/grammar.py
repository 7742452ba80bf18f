"""``grammar``: generated English sentences in minimal pairs, one acceptable, the other with one violation of number.

A subject agrees with its verb across modifiers whose nouns have a number of their own (attractors), a reflexive with its
subject, a determiner with its noun; and a reflexive is no subject, where a pronoun may be one. Phenomenon, modifiers, numbers
and words are drawn from one fixed seed, so that the set is the same everywhere. Both sentences of a pair are in the same part
and differ in one word.

Pronouns are learnt first, from words alone, in some fifty steps, and agreement in a few hundred: in training most subjects are
singular, as in English, so that a form alone says something of the label (pure parities take thousands of steps). In validation
and test both numbers are as frequent, and no form says anything of agreement.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from kdarena.tracks.text import lexicon
from kdarena.tracks.text.lexicon import Lexicon

T = TypeVar("T")

SEED = 20261
TRAIN_PAIRS, VALIDATION_PAIRS, TEST_PAIRS = 4000, 250, 1000
PLURAL = {"train": 0.3, "validation": 0.5, "test": 0.5}
"""Probability of a plural subject."""
ADJECTIVE, ADVERB = 0.1, 0.1
"""Probabilities of an adjective in front of a noun, and of an adverb in front of a verb."""
ATTRACTOR = 0.7
"""Probability that a modifier's noun has the other number than the subject."""
MODIFIERS = ((), ("place",), ("whom",), ("who",))
MODIFIER_SHARES = (0.4, 0.3, 0.15, 0.15)
PHENOMENA = ("verb", "auxiliary", "perfect", "reflexive", "determiner", "object", "pronoun")
PHENOMENON_SHARES = (0.15, 0.1, 0.1, 0.15, 0.15, 0.1, 0.25)

Template = tuple[tuple[str, ...], tuple[tuple[str, ...], tuple[str, ...]], tuple[str, ...]]


@dataclass(frozen=True)
class Sentence:
    """One sentence.

    Attributes:
        morphemes: function words, stems, and endings with a leading ``+``.
        acceptable: whether it is.
        phenomenon: what the pair differs in.
    """

    morphemes: tuple[str, ...]
    acceptable: bool
    phenomenon: str

    def text(self) -> str:
        """As it is written."""
        written = ""
        for morpheme in self.morphemes:
            if morpheme.startswith("+"):
                ending = morpheme[1:]
                written += ending[1:] if ending == "ed" and written.endswith("e") else ending
            else:
                written += f" {morpheme}"
        return written.strip()


class _Random:
    """Draws whose stream no version of numpy changes."""

    def __init__(self, seed: int):
        import numpy as np

        self._draw = np.random.RandomState(seed).random_sample

    def chance(self, probability: float) -> bool:
        return bool(self._draw() < probability)

    def choice(self, values: Sequence[T], shares: Sequence[float] | None = None) -> T:
        if shares is None:
            return values[int(self._draw() * len(values))]
        left = self._draw() * sum(shares)
        for value, share in zip(values, shares, strict=True):
            left -= share
            if left < 0:
                return value
        return values[-1]


class _Grammar:
    """Draws minimal pairs over the words of one part."""

    def __init__(self, part: str, words: Lexicon, random: _Random):
        self._plural = PLURAL[part]
        self._words, self._random = words, random

    def pair(self) -> tuple[Sentence, Sentence]:
        """An acceptable sentence, and the same with one violation."""
        phenomenon = self._random.choice(PHENOMENA, PHENOMENON_SHARES)
        plural = self._random.chance(self._plural)
        before, forms, after = getattr(self, f"_{phenomenon}")(plural)
        right, wrong = (*before, *forms[plural], *after), (*before, *forms[not plural], *after)
        return Sentence(right, True, phenomenon), Sentence(wrong, False, phenomenon)

    # each: what is before the word in question, its forms (singular, plural), what is after it
    def _verb(self, plural: bool) -> Template:
        verb = self._random.choice(self._words.intransitive)
        return (*self._subject(plural), *self._adverb()), (_third_person(verb), (verb,)), ()

    def _auxiliary(self, plural: bool) -> Template:
        which = self._random.choice((0, 1))
        forms = (lexicon.AUXILIARIES[0][which],), (lexicon.AUXILIARIES[1][which],)
        return self._subject(plural), forms, (*self._adverb(), self._random.choice(self._words.adjectives))

    def _perfect(self, plural: bool) -> Template:
        forms = (lexicon.HELPERS[0],), (lexicon.HELPERS[1],)
        return self._subject(plural), forms, (*self._adverb(), self._random.choice(self._words.intransitive), "+ed")

    def _reflexive(self, plural: bool) -> Template:
        before = (*self._subject(plural), *self._adverb(), self._random.choice(self._words.transitive), "+ed")
        return before, ((self._random.choice(lexicon.REFLEXIVES[0]),), lexicon.REFLEXIVES[1]), ()

    def _determiner(self, plural: bool) -> Template:
        after = (*self._described(plural, self._words.persons), *self._modifiers(plural), *self._adverb(), self._random.choice(self._words.intransitive), "+ed")
        return (), self._determiners(), after

    def _object(self, plural: bool) -> Template:
        other = self._random.chance(0.5)
        before = ("the", *self._noun(other, self._words.persons), *self._adverb(), self._random.choice(self._words.transitive), "+ed")
        return before, self._determiners(), self._described(plural, self._words.persons)

    def _pronoun(self, plural: bool) -> Template:
        pronoun, reflexive = ((self._random.choice(words[plural]),) for words in (lexicon.PRONOUNS, lexicon.REFLEXIVES))
        other = self._described(self._random.chance(0.5), self._words.persons)
        after = (*self._adverb(), self._random.choice(self._words.transitive), "+ed", "the", *other)
        return (), (reflexive, pronoun) if plural else (pronoun, reflexive), after

    # parts of sentences
    def _determiners(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return (self._random.choice(lexicon.DETERMINERS[0]),), (self._random.choice(lexicon.DETERMINERS[1]),)

    def _subject(self, plural: bool) -> tuple[str, ...]:
        return ("the", *self._described(plural, self._words.persons), *self._modifiers(plural))

    def _described(self, plural: bool, nouns: Sequence[str]) -> tuple[str, ...]:
        adjective = (self._random.choice(self._words.adjectives),) if self._random.chance(ADJECTIVE) else ()
        return (*adjective, *self._noun(plural, nouns))

    def _noun(self, plural: bool, nouns: Sequence[str]) -> tuple[str, ...]:
        noun = self._random.choice(nouns)
        return (noun, _s(noun)) if plural else (noun,)

    def _modifiers(self, plural: bool) -> tuple[str, ...]:
        words: tuple[str, ...] = ()
        for modifier in self._random.choice(MODIFIERS, MODIFIER_SHARES):
            other = plural != self._random.chance(ATTRACTOR)
            if modifier == "place":
                words += (self._random.choice(lexicon.PREPOSITIONS), "the", *self._noun(other, self._words.things))
                continue
            verb, person = self._random.choice(self._words.transitive), ("the", *self._noun(other, self._words.persons))
            if modifier == "whom":
                words += ("who", *person, *((verb,) if other else _third_person(verb)))
            else:
                words += ("who", verb, "+ed", *person)
        return words

    def _adverb(self) -> tuple[str, ...]:
        return (self._random.choice(lexicon.ADVERBS),) if self._random.chance(ADVERB) else ()


def _s(word: str) -> str:
    return "+es" if word.endswith(lexicon.SIBILANTS) else "+s"


def _third_person(verb: str) -> tuple[str, ...]:
    return verb, _s(verb)


def _pairs(grammar: _Grammar, count: int) -> tuple[Sentence, ...]:
    pairs: dict[tuple[str, ...], tuple[Sentence, Sentence]] = {}
    while len(pairs) < count:
        pair = grammar.pair()
        pairs.setdefault(pair[0].morphemes, pair)
    return tuple(sentence for pair in pairs.values() for sentence in pair)


@functools.cache
def sentences() -> dict[str, tuple[Sentence, ...]]:
    """The sentences of ``train``, ``validation`` and ``test``: different pairs, a pair's two side by side."""
    sizes = {"train": (lexicon.TRAIN, TRAIN_PAIRS), "validation": (lexicon.VALIDATION, VALIDATION_PAIRS), "test": (lexicon.TEST, TEST_PAIRS)}
    return {part: _pairs(_Grammar(part, words, _Random(SEED + number)), count) for number, (part, (words, count)) in enumerate(sizes.items())}
