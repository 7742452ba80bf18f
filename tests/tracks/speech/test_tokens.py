import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdarena.tracks.speech.tokens import CHARACTERS, DIGITS


@given(st.lists(st.sampled_from(DIGITS.tokens), min_size=1))
def test_words_return_from_their_ids(words: list[str]):
    ids = DIGITS.encode(" ".join(words))
    assert ids[-1] == DIGITS.end and len(ids) == len(words) + 1
    assert DIGITS.text(ids) == " ".join(words)


@given(st.text(alphabet="".join(CHARACTERS.tokens[1:]), min_size=1))
def test_characters_return_from_their_ids(text: str):
    assert CHARACTERS.text(CHARACTERS.encode(text)) == text


def test_a_transcript_ends_at_the_end_of_the_sentence_or_at_padding():
    assert DIGITS.text([3, DIGITS.end, 4]) == "three"
    assert DIGITS.text([3, -100, 4]) == "three"
    assert DIGITS.text([DIGITS.end]) == ""


def test_start_is_no_class_and_end_is_the_last_one():
    assert (DIGITS.classes, DIGITS.end, DIGITS.start) == (11, 10, 11)
    assert (CHARACTERS.classes, CHARACTERS.end, CHARACTERS.start) == (29, 28, 29)


@pytest.mark.parametrize(("transcript", "problem"), [("", "empty"), ("  ", "empty"), ("one ten", "unknown token 'ten'")])
def test_what_is_no_transcript_is_refused(transcript: str, problem: str):
    with pytest.raises(ValueError, match=problem):
        DIGITS.encode(transcript)
