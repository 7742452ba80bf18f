"""Data for the track's tests: the embedded tones, and folders of small audio files."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from kdarena.tracks.speech.architectures import Architecture
from kdarena.tracks.speech.cards import card
from kdarena.tracks.speech.models import Recogniser
from kdarena.tracks.speech.task import SpeechTask
from kdarena.tracks.values import Setting


@pytest.fixture(scope="session")
def tones_task() -> SpeechTask:
    task = card("tones").load(card("tones"), Setting())
    assert isinstance(task, SpeechTask)
    return task


def write_wav(path: Path, samples: np.ndarray | None = None, rate: int = 8000, channels: int = 1, width: int = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if samples is None:
        samples = 0.1 * np.random.RandomState(len(path.name)).standard_normal(2000)
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", "not compressed"))
        integers = np.round(samples * 2**15).astype("<i2")
        file.writeframes(np.repeat(integers, channels).tobytes() if width == 2 else (integers >> 8).astype(np.uint8).tobytes())


@pytest.fixture
def write() -> Callable[..., None]:
    return write_wav


@pytest.fixture
def fsdd_root(tmp_path: Path) -> Path:
    """Two recordings of each digit by four speakers."""
    for digit in range(10):
        for number, speaker in enumerate(("ada", "bob", "cleo", "dan")):
            for index in range(2):
                samples = 0.2 * np.sin(np.arange(1200 + 100 * index) * (0.05 + 0.02 * digit + 0.001 * number))
                write_wav(tmp_path / "free-spoken-digit-dataset/recordings" / f"{digit}_{speaker}_{index}.wav", samples)
    return tmp_path


def write_librispeech(root: Path, folder: str = "LibriSpeech") -> None:
    for place, (subset, words) in enumerate({"train-clean-100": "A CAT'S HAT", "dev-clean": "ON IT", "test-clean": "SO BE IT"}.items()):
        chapter = root / folder / subset / f"1{place}" / "7"
        rows = []
        for number in range(3 if place == 0 else 2):
            write_wav(chapter / f"1{place}-7-000{number}.wav", 0.1 * np.random.RandomState(number).standard_normal(6000 + 800 * number), rate=16000)
            rows.append(f"1{place}-7-000{number} {words}\n")
        (chapter / f"1{place}-7.trans.txt").write_text("".join(rows))


@pytest.fixture
def librispeech_root(tmp_path: Path) -> Path:
    """The layout with three, two and two utterances."""
    write_librispeech(tmp_path)
    return tmp_path


@pytest.fixture
def write_twins() -> Callable[[Path], None]:
    return lambda root: write_librispeech(root, "LibriSpeech-far")


@pytest.fixture
def small() -> Callable[..., Recogniser]:
    """Builds small networks of sharp opinions: 4 features, by default 3 classes."""

    def build(seed: int = 0, classes: int = 3, together: int = 1, dropout: float = 0.0, layers: int = 2) -> Recogniser:
        torch.manual_seed(seed)
        network = Recogniser(Architecture(width=6, layers=layers, together=together), 4, classes, dropout)
        for parameter in network.parameters():
            parameter.data.mul_(2.5)
        return network.eval()

    return build


@pytest.fixture
def audio() -> Callable[..., torch.Tensor]:
    """Builds random inputs [B, T, 1 + 4] of the given numbers of real frames."""

    def build(lengths: list[int], seed: int = 0, padding: int = 0) -> torch.Tensor:
        random = torch.Generator().manual_seed(seed)
        inputs = torch.zeros(len(lengths), max(lengths) + padding, 5)
        for row, length in enumerate(lengths):
            inputs[row, :length, 1:] = torch.randn(length, 4, generator=random)
            inputs[row, :length, 0] = 1
        return inputs

    return build
