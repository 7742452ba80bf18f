"""The generated sentences: fixed, balanced, without a shared content word, each pair different in one word."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations

import pytest

from kdarena.tracks.text import grammar, lexicon
from kdarena.tracks.text.data import grammar_digest, load_grammar
from kdarena.tracks.text.grammar import Sentence, sentences
from kdarena.tracks.text.vocabulary import Morphemes

PARTS = {"train": lexicon.TRAIN, "validation": lexicon.VALIDATION, "test": lexicon.TEST}
PLURAL = {*lexicon.DETERMINERS[1], *lexicon.REFLEXIVES[1], *lexicon.AUXILIARIES[1], lexicon.HELPERS[1]}
SINGULAR = {*lexicon.DETERMINERS[0], *lexicon.REFLEXIVES[0], *lexicon.AUXILIARIES[0], lexicon.HELPERS[0]}


def stems(part: str) -> set[str]:
    return {morpheme for sentence in sentences()[part] for morpheme in sentence.morphemes} - {*lexicon.CLOSED, *lexicon.ENDINGS}


def head_is_plural(sentence: Sentence) -> bool:
    """Number of the noun that agrees, read off the sentence by rules of its own: the first noun, or that of an object with a determiner."""
    words = list(sentence.morphemes)
    if sentence.phenomenon == "object":
        words = words[max(words.index(one) for one in words if one in PLURAL | SINGULAR) :]
    nouns = {*PARTS["train"].persons, *PARTS["validation"].persons, *PARTS["test"].persons}
    first = next(number for number, word in enumerate(words) if word in nouns)
    return words[first + 1 : first + 2] in (["+s"], ["+es"])


def agreeing(part: str) -> list[Sentence]:
    return [sentence for sentence in sentences()[part] if sentence.phenomenon != "pronoun"]


def form_is_plural(sentence: Sentence) -> bool:
    """Number of the form in question."""
    if sentence.phenomenon == "verb":
        return not sentence.morphemes[-1].startswith("+")
    forms = [word for word in sentence.morphemes if word in PLURAL | SINGULAR]
    return forms[-1] in PLURAL


def test_the_set_is_the_same_everywhere():
    assert grammar_digest() == "e2c01d6014f9d73c"
    assert [len(sentences()[part]) for part in PARTS] == [8000, 500, 2000]


def test_no_content_word_is_in_two_parts():
    for one, other in combinations(PARTS, 2):
        assert not set(PARTS[one].words()) & set(PARTS[other].words())
        assert not stems(one) & stems(other)
    assert all(stems(part) <= set(words.words()) for part, words in PARTS.items())


def test_every_word_is_once_in_its_lexicon_and_in_some_sentence():
    for part, words in PARTS.items():
        assert len(words.words()) == len(set(words.words())) and not set(words.words()) & set(lexicon.CLOSED)
        assert stems(part) == set(words.words())


@pytest.mark.parametrize("part", PARTS)
def test_half_of_the_sentences_are_acceptable_and_no_two_are_the_same(part: str):
    found = sentences()[part]
    assert Counter(sentence.acceptable for sentence in found) == {True: len(found) // 2, False: len(found) // 2}
    assert len({sentence.morphemes for sentence in found if sentence.acceptable}) == len(found) // 2


@pytest.mark.parametrize("part", PARTS)
def test_a_sentence_is_acceptable_where_the_form_has_the_number_of_its_noun(part: str):
    assert all(sentence.acceptable == (head_is_plural(sentence) == form_is_plural(sentence)) for sentence in agreeing(part))


@pytest.mark.parametrize("part", PARTS)
def test_a_pronoun_may_be_a_subject_and_a_reflexive_may_not(part: str):
    found = [sentence for sentence in sentences()[part] if sentence.phenomenon == "pronoun"]
    assert len(found) > len(sentences()[part]) / 5
    pronouns = {*lexicon.PRONOUNS[0], *lexicon.PRONOUNS[1]}
    assert all(sentence.acceptable == (sentence.morphemes[0] in pronouns) for sentence in found)
    numbers = {right.morphemes[0] == "they": wrong.morphemes[0] == "themselves" for right, wrong in zip(found[::2], found[1::2], strict=True)}
    assert numbers == {True: True, False: False}


@pytest.mark.parametrize("part", PARTS)
def test_a_pair_differs_in_one_word(part: str):
    for right, wrong in zip(sentences()[part][::2], sentences()[part][1::2], strict=True):
        one, other = right.text().split(), wrong.text().split()
        assert right.acceptable and not wrong.acceptable and right.phenomenon == wrong.phenomenon
        assert len(one) == len(other) and sum(a != b for a, b in zip(one, other, strict=True)) == 1


def test_in_test_no_form_tells_the_label_and_in_training_it_does():
    def predicted(part: str) -> float:
        found = agreeing(part)
        return sum(form_is_plural(sentence) != sentence.acceptable for sentence in found) / len(found)

    assert predicted("test") == pytest.approx(0.5, abs=0.03) and predicted("validation") == pytest.approx(0.5, abs=0.06)
    assert predicted("train") == pytest.approx(1 - grammar.PLURAL["train"], abs=0.02)


def test_attractors_mostly_have_the_other_number():
    found = [
        sentence
        for sentence in sentences()["test"]
        if sentence.acceptable and sentence.phenomenon == "verb" and {*sentence.morphemes} & {*lexicon.PREPOSITIONS}
    ]
    things = set(lexicon.TEST.things)
    other = 0
    for sentence in found:
        place = next(number for number, word in enumerate(sentence.morphemes) if word in things)
        other += (sentence.morphemes[place + 1] in ("+s", "+es")) != head_is_plural(sentence)
    assert 0.6 < other / len(found) < 0.8


def test_sentences_are_spelt_as_english():
    assert Sentence(("the", "church", "+es", "frighten", "+ed", "themselves"), True, "reflexive").text() == "the churches frightened themselves"
    assert Sentence(("that", "nurse", "smile", "+ed"), True, "determiner").text() == "that nurse smiled"
    texts = [sentence.text() for part in PARTS for sentence in sentences()[part]]
    assert all(re.fullmatch("[a-z]+( [a-z]+)+", text) for text in texts)
    assert not any(re.search(r"(sss|xs|zs|chs|shs|eed|[^ao]yed)\b", text) for text in texts)


def test_no_stem_needs_a_doubled_consonant():
    verbs = [verb for words in PARTS.values() for verb in (*words.intransitive, *words.transitive)]
    assert not [verb for verb in verbs if re.fullmatch("[^aeiou]*[aeiou][^aeiouwxy]", verb)]


def test_every_token_of_test_is_one_that_training_sees():
    data = load_grammar()
    trained = int(data.train.lengths[: len(sentences()["train"])].sum())
    assert set(data.test.ids.tolist()) <= set(data.train.ids[:trained].tolist())


def test_an_ending_is_a_token_of_its_own():
    plural, singular = Morphemes().encode([("the", "pilot", "+s"), ("the", "pilot")])
    assert plural[:3] == singular[:3] and len(plural) == len(singular) + 1
    assert plural[0] == 2 and plural[-1] == 3
