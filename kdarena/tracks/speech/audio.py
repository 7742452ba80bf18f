"""Audio files as samples: wav by the standard library, FLAC by soundfile."""

from __future__ import annotations

import importlib
import importlib.util
import wave
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

SUFFIXES = (".flac", ".wav")
FLAC_MISSING = "soundfile is not installed, which reads FLAC: pip install soundfile"


def flac_is_read() -> bool:
    """Whether the library that reads FLAC is installed."""
    return importlib.util.find_spec("soundfile") is not None


def check_audio(path: Path, rate: int) -> int:
    """Look at a file's header; returns how many samples there are.

    Raises:
        ValueError: in one line: it is no audio, of another rate, of several channels, or of no length.
    """
    found, channels, frames = _flac_header(path) if path.suffix == ".flac" else _wav_header(path)
    if found != rate:
        raise ValueError(f"{path}: {found} samples a second, the task takes {rate}: resample it")
    if channels != 1:
        raise ValueError(f"{path}: {channels} channels, the task takes one: mix them down")
    if frames == 0:
        raise ValueError(f"{path}: audio of no length: remove it or record it again")
    return frames


def read_audio(path: Path, rate: int) -> np.ndarray:
    """Samples [n] in [−1, 1] in fp32; raises as :func:`check_audio` does."""
    frames = check_audio(path, rate)
    samples = _flac_samples(path) if path.suffix == ".flac" else _wav_samples(path)
    if len(samples) < frames:
        raise ValueError(f"{path}: {len(samples)} samples, where its header says {frames}: the file is cut off; restore it")
    return samples


def _wav_samples(path: Path) -> np.ndarray:
    import numpy as np

    with wave.open(str(path)) as opened:
        read = opened.readframes(opened.getnframes())
    return np.frombuffer(read, "<i2", len(read) // 2).astype(np.float32) / 2**15


def _flac_samples(path: Path) -> np.ndarray:
    soundfile = importlib.import_module("soundfile")
    try:
        samples: np.ndarray = soundfile.read(path, dtype="float32")[0]
    except soundfile.SoundFileError as error:
        raise ValueError(f"{path}: no FLAC file: {error}") from None
    return samples


def _wav_header(path: Path) -> tuple[int, int, int]:
    """Rate, channels and frames."""
    try:
        with wave.open(str(path)) as opened:
            width, header = opened.getsampwidth(), (opened.getframerate(), opened.getnchannels(), opened.getnframes())
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{path}: no wav file of plain samples: {str(error) or 'it ends too early'}") from None
    if width != 2:
        raise ValueError(f"{path}: {8 * width} bits a sample, the task takes 16: convert it")
    return header


def _flac_header(path: Path) -> tuple[int, int, int]:
    """Rate, channels and frames."""
    if not flac_is_read():
        raise ValueError(f"{path}: {FLAC_MISSING}")
    soundfile = importlib.import_module("soundfile")
    try:
        found = soundfile.info(path)
    except soundfile.SoundFileError as error:
        raise ValueError(f"{path}: no FLAC file: {error}") from None
    return found.samplerate, found.channels, found.frames
