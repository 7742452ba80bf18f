from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kdarena.errors import UserError
from kdarena.tracks import cards, check_data, find_card
from kdarena.tracks.speech import librispeech, librispeech_layout
from kdarena.tracks.speech.audio import read_audio

CHAPTER = "LibriSpeech/train-clean-100/10/7"


def test_transcripts_are_read_in_lower_case_with_their_speakers(librispeech_root: Path):
    rows = librispeech_layout.rows(librispeech_root, "train-clean-100")
    assert [row.transcript for row in rows] == ["a cat's hat"] * 3 and {row.speaker for row in rows} == {"10"}
    assert [row.audio.name for row in rows] == [f"10-7-000{number}.wav" for number in range(3)] and all(row.twin is None for row in rows)


def test_the_subsets_are_the_parts_and_share_no_room_or_noise(librispeech_root: Path):
    data = librispeech.load(str(librispeech_root))
    assert (len(data.train), data.validation, len(data.test)) == (5, 2, 2)
    assert data.train.speakers == ("10", "10", "10", "11", "11") and data.test.speakers == ("12", "12")
    assert all(room.startswith("train-clean-100") for room in data.train.rooms[:3]) and all(room.startswith("dev-clean") for room in data.train.rooms[3:])
    assert all(name.startswith("test-clean") for name in (*data.test.rooms, *data.test.noises))
    assert data.train.close.values.shape[1] == 240


def test_simulated_far_field_audio_hangs_on_the_utterance_alone(librispeech_root: Path):
    rows = librispeech_layout.rows(librispeech_root, "train-clean-100")
    (second,) = [utterance.far for utterance in librispeech.utterances("train-clean-100", rows[1:2])]
    every = [utterance.far for utterance in librispeech.utterances("train-clean-100", rows)]
    assert np.array_equal(every[1], second) and not np.array_equal(every[0][:3000], every[1][:3000])


def test_the_same_audio_is_heard_in_another_way_as_another_utterance(librispeech_root: Path, write: Callable[..., None]):
    for number in range(2):
        write(librispeech_root / CHAPTER / f"10-7-000{number}.wav", np.sin(np.arange(4000) / 9), rate=16000)
    rows = librispeech_layout.rows(librispeech_root, "train-clean-100")
    one, other = librispeech.utterances("train-clean-100", rows[:2])
    assert np.array_equal(one.close, other.close) and not np.array_equal(one.far, other.far)


def test_a_twin_folder_is_taken_for_far_field_audio(librispeech_root: Path, write_twins: Callable[[Path], None], write: Callable[..., None]):
    write_twins(librispeech_root)
    twin = librispeech_root / "LibriSpeech-far/train-clean-100/10/7/10-7-0001.wav"
    write(twin, np.linspace(-0.5, 0.5, 4000), rate=16000)
    rows = librispeech_layout.rows(librispeech_root, "train-clean-100")
    utterances = list(librispeech.utterances("train-clean-100", rows))
    assert np.array_equal(utterances[1].far, read_audio(twin, 16000)) and len(utterances[1].close) == 6800


def test_an_utterance_without_its_twin_is_named(librispeech_root: Path, write_twins: Callable[[Path], None]):
    write_twins(librispeech_root)
    (librispeech_root / "LibriSpeech-far/train-clean-100/10/7/10-7-0001.wav").unlink()
    with pytest.raises(ValueError, match=r"10-7.trans.txt, row 2: 10-7-0001 has no parallel twin: .*LibriSpeech-far.*10-7-0001.flac is missing"):
        librispeech.digest(str(librispeech_root))


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("10-7-0001", r"row 2: the transcript is empty"),
        ("10-7-0001 A C4T", r"row 2: unknown token '4' in the transcript 'a c4t'"),
        ("", r"row 2: '' is no utterance of 10-7: a row is UTTERANCE TRANSCRIPT"),
        ("11-7-0001 A CAT", r"row 2: '11-7-0001' is no utterance of 10-7"),
        ("10-7-0000 A CAT", r"row 2: a second transcript of 10-7-0000"),
        ("10-7-0009 A CAT", r"row 2: .*10-7-0009.flac is missing"),
    ],
)
def test_a_wrong_row_is_named_before_training(librispeech_root: Path, row: str, problem: str):
    path = librispeech_root / CHAPTER / "10-7.trans.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], row, lines[2]]))
    with pytest.raises(ValueError, match=problem) as caught:
        librispeech.digest(str(librispeech_root))
    assert "10-7.trans.txt" in str(caught.value) and "\n" not in str(caught.value)


def test_audio_without_a_row_is_named(librispeech_root: Path, write: Callable[..., None]):
    write(librispeech_root / CHAPTER / "10-7-0005.wav", rate=16000)
    with pytest.raises(ValueError, match=r"10-7.trans.txt: no row for 10-7-0005"):
        librispeech.digest(str(librispeech_root))


@pytest.mark.parametrize(("changes", "problem"), [({"rate": 8000}, "8000 samples a second, the task takes 16000"), ({"samples": np.empty(0)}, "no length")])
@pytest.mark.parametrize("folder", ["LibriSpeech", "LibriSpeech-far"])
def test_wrong_audio_is_named_before_training(
    librispeech_root: Path, write_twins: Callable[[Path], None], write: Callable[..., None], folder: str, changes: dict, problem: str
):
    write_twins(librispeech_root)
    write(librispeech_root / folder / "dev-clean/11/7/11-7-0001.wav", **{"rate": 16000, **changes})
    with pytest.raises(ValueError, match=rf"{folder}/dev-clean/11/7/11-7-0001.wav: .*{problem}"):
        librispeech.digest(str(librispeech_root))


def test_what_is_missing_is_said(tmp_path: Path, librispeech_root: Path, monkeypatch: pytest.MonkeyPatch):
    assert str(librispeech_layout.missing(None)).startswith("no data root for LibriSpeech: unpack train-clean-100, dev-clean and test-clean")
    assert "train-clean-100 is missing" in str(librispeech_layout.missing(str(tmp_path / "none")))
    assert librispeech_layout.missing(str(librispeech_root)) is None
    (librispeech_root / "LibriSpeech/test-clean/12/7/12-7-0000.flac").touch()
    monkeypatch.setattr(librispeech_layout, "flac_is_read", lambda: False)
    assert librispeech_layout.missing(str(librispeech_root)) == "soundfile is not installed, which reads FLAC: pip install soundfile"


def test_an_empty_subset_is_named(librispeech_root: Path):
    for path in (librispeech_root / "LibriSpeech/test-clean").rglob("*.*"):
        path.unlink()
    with pytest.raises(ValueError, match=r"test-clean: no SPEAKER/CHAPTER/\*.trans.txt"):
        librispeech.digest(str(librispeech_root))


def test_sizes_are_those_of_the_transcripts_or_as_published(librispeech_root: Path, tmp_path: Path):
    assert list(librispeech_layout.sizes(str(librispeech_root)).values()) == [3, 2, 2]
    assert librispeech_layout.sizes(str(tmp_path / "none")) == {"train-clean-100": 28539, "dev-clean": 2703, "test-clean": 2620}


def test_another_transcript_is_other_data(librispeech_root: Path):
    before = librispeech.digest(str(librispeech_root))
    path = librispeech_root / CHAPTER / "10-7.trans.txt"
    path.write_text(path.read_text().replace("HAT", "MAT"))
    librispeech._rows_once.cache_clear()
    assert librispeech.digest(str(librispeech_root)) != before


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
def test_rows_may_end_as_any_editor_ends_them(librispeech_root: Path, end: str):
    path = librispeech_root / CHAPTER / "10-7.trans.txt"
    path.write_bytes(("\ufeff" + end.join(path.read_text().splitlines()) + end + end).encode())
    assert [row.transcript for row in librispeech_layout.rows(librispeech_root, "train-clean-100")] == ["a cat's hat"] * 3
    assert librispeech_layout.sizes(str(librispeech_root))["train-clean-100"] == 3


def test_a_byte_that_is_not_utf8_is_named_by_row_and_no_other_task_falls_over_it(librispeech_root: Path):
    path = librispeech_root / CHAPTER / "10-7.trans.txt"
    path.write_bytes(path.read_bytes().replace(b"CAT", b"C\xc4T"))
    with pytest.raises(UserError, match=r"task librispeech: .*10-7\.trans\.txt: row 1: byte 0xc4 is not UTF-8"):
        check_data(find_card("librispeech", str(librispeech_root)), str(librispeech_root))
    assert len(cards(str(librispeech_root))) > 10
