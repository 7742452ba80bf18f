import subprocess
import sys
from pathlib import Path

import pytest

from kdarena.tracks.speech.cards import DATA_SETS, card, cards


def test_three_tasks_are_listed_without_reading_torch_or_audio():
    code = "import sys; from kdarena.tracks.speech import cards; cards.cards('/nowhere'); print({'torch', 'numpy', 'jiwer'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
    assert DATA_SETS == tuple(one.name for one in cards()) == ("tones", "fsdd", "librispeech")


def test_a_card_says_what_its_task_is():
    for one in cards():
        assert (one.track, one.metric, one.parallel, one.decodes, one.start) == ("speech", "word_accuracy", True, True, "teacher")
        assert one.teacher == one.student and one.teacher_dropout and one.attentions == 0
        assert one.recipe.optimizer == "adam" and one.recipe.clip is not None
    assert [one.classes for one in cards()] == [11, 11, 29]
    assert card("tones").embedded and card("tones").missing(None) is None
    assert not card("fsdd").embedded and card("fsdd").missing(None)


def test_students_of_another_size_do_not_start_from_the_teacher():
    other = card("librispeech:aed512-aed128")
    assert (other.name, other.teacher, other.student, other.start) == ("librispeech:aed512-aed128", "aed512", "aed128", None)
    assert card("fsdd:aed128-aed128").start == "teacher"


@pytest.mark.parametrize(
    ("name", "problem"), [("timit", "unknown task 'timit'"), ("fsdd:aed64", "no TEACHER-STUDENT"), ("fsdd:aed64-lstm", "no TEACHER-STUDENT")]
)
def test_an_unknown_name_is_refused_in_one_line(name: str, problem: str):
    with pytest.raises(ValueError, match=problem) as caught:
        card(name)
    assert "\n" not in str(caught.value)


def test_a_card_counts_librispeech_where_it_is_there(librispeech_root: Path):
    one = card("librispeech", str(librispeech_root))
    assert (one.train, one.validation, one.test) == (3, 2, 2)
    assert one.missing(str(librispeech_root)) is None and len(one.digest(str(librispeech_root))) == 16


def test_the_embedded_task_has_as_many_samples_as_its_card_says():
    from kdarena.tracks.speech import tones

    one = card("tones")
    assert (one.train, one.validation, one.test) == (tones.TRAIN.utterances, tones.VALIDATION.utterances, tones.TEST.utterances)
    assert one.digest(None) == tones.load().digest


def test_fsdd_has_as_many_strings_as_its_card_says():
    from kdarena.tracks.speech import fsdd

    one = card("fsdd")
    assert (one.train, one.validation, one.test) == (fsdd.TRAIN.strings, fsdd.VALIDATION.strings, fsdd.TEST.strings)
