import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kdarena.tracks.speech import audio
from kdarena.tracks.speech.audio import check_audio, read_audio


def test_samples_come_back_from_a_wav_file(tmp_path: Path, write: Callable[..., None]):
    samples = np.array([0.0, 0.5, -1.0, 0.25])
    write(tmp_path / "a.wav", samples)
    assert read_audio(tmp_path / "a.wav", 8000).tolist() == samples.tolist()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"rate": 16000}, r"a.wav: 16000 samples a second, the task takes 8000: resample it"),
        ({"samples": np.empty(0)}, r"a.wav: audio of no length"),
        ({"channels": 2}, r"a.wav: 2 channels, the task takes one"),
        ({"width": 1}, r"a.wav: 8 bits a sample, the task takes 16"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, write: Callable[..., None], changes: dict, problem: str):
    write(tmp_path / "a.wav", **changes)
    for use in (check_audio, read_audio):
        with pytest.raises(ValueError, match=problem):
            use(tmp_path / "a.wav", 8000)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"no audio at all, but long enough for a header of forty-four bytes"])
def test_a_file_that_is_no_audio_is_named(tmp_path: Path, content: bytes):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(ValueError, match=r"a.wav: no wav file of plain samples: .") as caught:
        check_audio(tmp_path / "a.wav", 8000)
    assert "\n" not in str(caught.value)


def test_a_wav_file_of_floating_point_is_named(tmp_path: Path, write: Callable[..., None]):
    write(tmp_path / "a.wav")
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[20:22] = (3).to_bytes(2, "little")
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(ValueError, match="a.wav: no wav file of plain samples"):
        check_audio(tmp_path / "a.wav", 8000)


def test_flac_without_its_library_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(audio, "flac_is_read", lambda: False)
    with pytest.raises(ValueError, match="a.flac: soundfile is not installed, which reads FLAC: pip install soundfile"):
        check_audio(tmp_path / "a.flac", 16000)


def test_flac_is_read_where_its_library_is_installed(tmp_path: Path):
    soundfile = pytest.importorskip("soundfile")
    samples = np.array([0.0, 0.5, -1.0, 0.25] * 100)
    soundfile.write(tmp_path / "a.flac", samples, 16000, subtype="PCM_16")
    assert read_audio(tmp_path / "a.flac", 16000).tolist() == samples.tolist()
    with pytest.raises(ValueError, match="a.flac: 16000 samples a second, the task takes 8000"):
        check_audio(tmp_path / "a.flac", 8000)
    (tmp_path / "b.flac").write_bytes(b"none")
    with pytest.raises(ValueError, match="b.flac: no FLAC file"):
        check_audio(tmp_path / "b.flac", 8000)


def test_the_fixture_writes_what_it_says(tmp_path: Path, write: Callable[..., None]):
    write(tmp_path / "a.wav", np.zeros(10), rate=16000)
    with wave.open(str(tmp_path / "a.wav")) as opened:
        assert (opened.getframerate(), opened.getnframes()) == (16000, 10)
