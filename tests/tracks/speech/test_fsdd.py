from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kdarena.tracks.speech import fsdd
from kdarena.tracks.speech.audio import read_audio
from kdarena.tracks.speech.cards import card
from kdarena.tracks.speech.task import SpeechTask
from kdarena.tracks.values import Setting

FOLDER = "free-spoken-digit-dataset/recordings"


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fsdd, "TRAIN", fsdd.Plan("train", 30, 3, 2, 1))
    monkeypatch.setattr(fsdd, "VALIDATION", fsdd.Plan("validation", 10, 2, 2, 3))
    monkeypatch.setattr(fsdd, "TEST", fsdd.Plan("test", 10, 2, 2, 5))


def test_parts_share_no_speaker_room_or_noise(fsdd_root: Path):
    data = fsdd.load(str(fsdd_root))
    assert (len(data.train), data.validation, len(data.test)) == (40, 10, 10)
    assert set(data.train.speakers[:30]) == {"ada", "bob"} and set(data.train.speakers[30:]) == {"cleo"} and set(data.test.speakers) == {"dan"}
    for facts in (data.train.rooms, data.train.noises):
        assert not set(facts[:30]) & set(facts[30:])
    assert not set(data.train.rooms) & set(data.test.rooms) and not set(data.train.noises) & set(data.test.noises)


def test_a_string_is_recordings_of_its_digits_by_one_speaker(fsdd_root: Path):
    known = fsdd.recordings(fsdd_root / FOLDER)
    for utterance in fsdd.utterances(fsdd.TRAIN, known, ["ada", "bob"]):
        words = utterance.transcript.split(" ")
        assert 2 <= len(words) <= 5
        rest = utterance.close
        for word in words:
            rest = rest[np.flatnonzero(rest)[0] - 1 :]  # each recording begins with one sample of 0
            recorded = [read_audio(path, 8000) for path in known[utterance.speaker][fsdd.DIGITS.tokens.index(word)]]
            fitting = [one for one in recorded if len(one) <= len(rest) and np.corrcoef(one, rest[: len(one)])[0, 1] > 0.999]
            assert fitting
            rest = rest[max(map(len, fitting)) :]
        assert not rest.any()


def test_other_recordings_are_other_data(fsdd_root: Path, write: Callable[..., None]):
    before = fsdd.load(str(fsdd_root)).digest
    assert fsdd.load(str(fsdd_root)).digest == before
    write(fsdd_root / FOLDER / "3_ada_0.wav", 0.1 * np.random.RandomState(0).standard_normal(900))
    write(fsdd_root / FOLDER / "3_ada_1.wav", 0.1 * np.random.RandomState(1).standard_normal(900))
    assert fsdd.load(str(fsdd_root)).digest != before


def test_what_is_missing_is_said(tmp_path: Path):
    assert fsdd.missing(None).startswith("no data root for free-spoken-digit-dataset/recordings: clone")  # type: ignore[union-attr]
    assert "recordings is missing: clone" in str(fsdd.missing(str(tmp_path)))
    with pytest.raises(ValueError, match="recordings is missing: clone"):
        fsdd.load(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "changes", "problem"),
    [
        ("0_ada_7.wav", {"rate": 16000}, "0_ada_7.wav: 16000 samples a second, the task takes 8000"),
        ("0_ada_7.wav", {"samples": np.empty(0)}, "0_ada_7.wav: audio of no length"),
        ("zero_ada.wav", {}, "zero_ada.wav: its name is not DIGIT_SPEAKER_INDEX.wav"),
    ],
)
def test_a_wrong_file_is_named_before_training(fsdd_root: Path, write: Callable[..., None], name: str, changes: dict, problem: str):
    write(fsdd_root / FOLDER / name, **changes)
    with pytest.raises(ValueError, match=problem):
        fsdd.load(str(fsdd_root))


def test_a_missing_digit_and_too_few_speakers_are_named(fsdd_root: Path):
    for path in (fsdd_root / FOLDER).glob("4_cleo_*.wav"):
        path.unlink()
    with pytest.raises(ValueError, match="no recording of digit 4 by cleo: 4_cleo_0.wav is missing"):
        fsdd.load(str(fsdd_root))
    for speaker in ("bob", "cleo"):
        for path in (fsdd_root / FOLDER).glob(f"*_{speaker}_*.wav"):
            path.unlink()
    with pytest.raises(ValueError, match="recordings of 2 speakers, three are needed"):
        fsdd.load(str(fsdd_root))


def test_a_recording_that_is_cut_off_is_named(fsdd_root: Path):
    path = fsdd_root / FOLDER / "3_ada_0.wav"
    path.write_bytes(path.read_bytes()[:-1001])
    with pytest.raises(ValueError, match=r"3_ada_0\.wav: 699 samples, where its header says 1200: the file is cut off; restore it"):
        card("fsdd", str(fsdd_root)).check(str(fsdd_root))


def test_a_string_of_test_that_is_also_in_train_is_counted(fsdd_root: Path):
    data = fsdd.load(str(fsdd_root))
    leaked = replace(data, test=data.train)
    task = SpeechTask(card("fsdd", str(fsdd_root)), Setting(), leaked)
    assert task.overlap == len(data.train)
    assert SpeechTask(card("fsdd", str(fsdd_root)), Setting(), data).overlap == 0
