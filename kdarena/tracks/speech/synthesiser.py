"""A small formant synthesiser: digits as sequences of formant targets, spoken by a voice of some pitch, tract length and tempo.

Source and filter (Fant 1960): pulses of the glottis and noise, each shaped frame by frame by a transfer function; vowel targets are
the men's averages of Peterson and Barney (1952, table II), the rest is set by ear and eye.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import fft

SAMPLE_RATE = 8000
HOP = 80
"""Samples between two frames: 10 ms."""
_WINDOW = 2 * HOP
_FFT = 256
_CHUNK = 1024
"""Frames that are filtered at once: what fits into a core's cache."""
_POSITIONS = 48
"""Frames of a digit's stored track, whatever its duration."""
_BANDWIDTHS = (70.0, 100.0, 160.0, 250.0)
_FOURTH = 3500.0
"""Fourth formant of all sounds, Hz."""
LOUDNESS = 0.05
"""Root mean square of an utterance."""
SILENCE = -1
"""In place of a digit: a pause."""
_ACCENT = 0.10
"""Standard deviation of the logarithm of a speaker's formants in a digit."""


@dataclass(frozen=True)
class Voice:
    """A speaker.

    Attributes:
        pitch: mean fundamental frequency, Hz.
        tract: length of the vocal tract, as a multiple of the average man's; formants are divided by it.
        tempo: speed, as a multiple of the average.
        breath: noise at the glottis, as a share of its pulses.
        accent: seed of how this speaker's formants differ from all others' in each digit.
    """

    pitch: float
    tract: float
    tempo: float
    breath: float
    accent: int


@dataclass(frozen=True)
class Sound:
    """A stretch of a digit, from which its formants move on to those of the next one.

    Attributes:
        seconds: duration at average tempo.
        formants: F1 to F3, Hz.
        voicing: amplitude of the pulses.
        noise: amplitude of the noise.
        centre, width: of the noise's band, Hz; the width is that of a resonance.
    """

    seconds: float
    formants: tuple[float, float, float]
    voicing: float = 1.0
    noise: float = 0.0
    centre: float = 3000.0
    width: float = 1500.0


_AA, _AE_END = (730.0, 1090.0, 2440.0), (390.0, 1990.0, 2550.0)
_IY, _IH, _EH = (270.0, 2290.0, 3010.0), (390.0, 1990.0, 2550.0), (530.0, 1840.0, 2480.0)
_AO, _UH, _UW, _AH = (570.0, 840.0, 2410.0), (440.0, 1020.0, 2240.0), (300.0, 870.0, 2240.0), (640.0, 1190.0, 2390.0)
_R, _W, _N = (330.0, 1060.0, 1500.0), (290.0, 610.0, 2150.0), (250.0, 1400.0, 2300.0)


def _s(seconds: float) -> Sound:
    return Sound(seconds, _EH, voicing=0.0, noise=1.0, centre=3700.0, width=700.0)


def _f(seconds: float) -> Sound:
    return Sound(seconds, _AH, voicing=0.0, noise=0.35, centre=2200.0, width=4000.0)


def _v(seconds: float) -> Sound:
    return Sound(seconds, (350.0, 1100.0, 2300.0), voicing=0.35, noise=0.12, centre=2200.0, width=4000.0)


def _n(seconds: float) -> Sound:
    return Sound(seconds, _N, voicing=0.4)


def _stop(burst: float, formants: tuple[float, float, float]) -> tuple[Sound, Sound]:
    """A closure and a burst with its noise at ``burst`` Hz."""
    return Sound(0.02, formants, voicing=0.0), Sound(0.02, formants, voicing=0.0, noise=0.9, centre=burst, width=900.0)


DIGITS: tuple[tuple[Sound, ...], ...] = (
    (Sound(0.03, _IH, voicing=0.3, noise=0.5, centre=3600.0, width=800.0), Sound(0.03, _IH), Sound(0.025, _R), Sound(0.04, _AO), Sound(0.03, _UH, voicing=0.7)),
    (Sound(0.035, _W), Sound(0.06, _AH), _n(0.04)),
    (*_stop(3300.0, _UW)[1:], Sound(0.03, (300.0, 1500.0, 2300.0)), Sound(0.065, _UW)),
    (Sound(0.03, _R, voicing=0.0, noise=0.2, centre=1800.0, width=4000.0), Sound(0.035, _R), Sound(0.065, _IY)),
    (_f(0.035), Sound(0.06, _AO), Sound(0.04, _R, voicing=0.7)),
    (_f(0.035), Sound(0.05, _AA), Sound(0.035, _AE_END), _v(0.03)),
    (_s(0.04), Sound(0.035, _IH), *_stop(1900.0, _IH), _s(0.035)),
    (_s(0.035), Sound(0.035, _EH), _v(0.025), Sound(0.03, _AH, voicing=0.8), _n(0.03)),
    (Sound(0.045, _EH), Sound(0.035, _IY), *_stop(3200.0, _IY)),
    (_n(0.03), Sound(0.05, _AA), Sound(0.035, _AE_END), _n(0.035)),
)
"""Each digit's sounds."""
DURATIONS = np.array([sum(sound.seconds for sound in sounds) for sounds in DIGITS])
"""Seconds of each digit at average tempo."""


def _tracks() -> np.ndarray:
    """Formants, amplitudes and the noise's band of each digit [10, positions, 7], smoothed as the tract moves."""
    found = np.empty((len(DIGITS), _POSITIONS, 7))
    kernel = np.hanning(9)[1:-1] / np.hanning(9)[1:-1].sum()
    for digit, sounds in enumerate(DIGITS):
        edges = np.cumsum([0.0, *(sound.seconds for sound in sounds)]) / DURATIONS[digit]
        places = (np.arange(_POSITIONS) + 0.5) / _POSITIONS
        values = np.array([(*sound.formants, sound.voicing, sound.noise, sound.centre, sound.width) for sound in sounds])
        spans = np.stack([(places >= low) & (places < high) for low, high in pairwise(edges)])
        steps = values[spans.argmax(axis=0)]
        padded = np.pad(steps, ((3, 3), (0, 0)), mode="edge")
        found[digit] = np.stack([np.convolve(column, kernel, mode="valid") for column in padded.T], axis=1)
    return found


def _resonance(frequency: np.ndarray, centre: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Magnitude of a resonance of unit gain at 0 Hz."""
    ratio = frequency / centre
    gain: np.ndarray = 1 / np.sqrt((1 - ratio**2) ** 2 + (frequency * width / centre**2) ** 2)
    return gain


def transfer_functions(voices: list[Voice]) -> tuple[np.ndarray, np.ndarray]:
    """Magnitudes over frequency of the pulses' and of the noise's filter: each [voices, digits, positions, bins]."""
    tracks = _tracks()[None, ..., None].repeat(len(voices), axis=0)
    for number, voice in enumerate(voices):
        tracks[number, :, :, :3] *= np.exp(_ACCENT * np.random.RandomState(voice.accent).standard_normal((len(DIGITS), 1, 3, 1)))
    tract = np.array([voice.tract for voice in voices])[:, None, None, None]
    breath = np.array([voice.breath for voice in voices])[:, None, None, None]
    frequency = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE)
    vowel = np.ones(1)
    for formant in range(3):
        vowel = vowel * _resonance(frequency, tracks[:, :, :, formant] / tract, np.array(_BANDWIDTHS[formant]))
    vowel = vowel * _resonance(frequency, np.array(_FOURTH) / tract, np.array(_BANDWIDTHS[3]))
    # the glottis' slope and the lips' radiation together fall by 6 dB an octave
    vowel = vowel / np.sqrt(1 + (frequency / 300) ** 2)
    centre, width = tracks[:, :, :, 5] / tract, tracks[:, :, :, 6]
    band = _resonance(frequency, centre, width) * (frequency / centre) ** 2 * width / centre
    voicing, noise = tracks[:, :, :, 3], tracks[:, :, :, 4]
    return voicing * vowel, noise * band + breath * voicing * vowel


def speak(strings: list[list[int]], voices: list[Voice], random: np.random.RandomState) -> list[np.ndarray]:
    """Each string of digits spoken by the voice at its place in ``voices``: samples [n] in fp64 at 8 kHz, equally loud.

    All are made in one stream, so that nothing is computed utterance by utterance.
    """
    unique = list(dict.fromkeys(voices))
    pulses_filter, noise_filter = transfer_functions(unique)
    speaker_of = np.array([unique.index(voice) for voice in voices])
    digits, utterance_of, frames = _score(strings, voices, random)
    digit = np.repeat(digits, frames)
    speaker = np.repeat(speaker_of[utterance_of], frames)
    within = np.concatenate([(np.arange(count) + 0.5) / count for count in frames])
    place = (within * _POSITIONS).astype(int)
    chosen = np.ravel_multi_index((speaker, digit % len(DIGITS), place), pulses_filter.shape[:3])
    pulses = _pulses(np.repeat(utterance_of, frames), voices, random)
    noise = 0.3 * random.standard_normal(len(digit) * HOP)
    stream = _filtered((pulses, noise), (pulses_filter, noise_filter), chosen, digit != SILENCE)
    lengths = np.bincount(utterance_of, weights=frames).astype(int) * HOP
    spoken = np.split(stream, np.cumsum(lengths)[:-1])
    return [samples * (LOUDNESS / np.sqrt(np.mean(samples**2))) for samples in spoken]


def _score(strings: list[list[int]], voices: list[Voice], random: np.random.RandomState) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Digits and pauses of all strings one behind the other, the utterance of each, and its frames."""
    digits, utterance_of, seconds = [], [], []
    for utterance, (string, voice) in enumerate(zip(strings, voices, strict=True)):
        for digit in string:
            digits += [SILENCE, digit]
            seconds += [random.uniform(0.0, 0.03), DURATIONS[digit] / voice.tempo * random.uniform(0.9, 1.1)]
        digits.append(SILENCE)
        seconds.append(random.uniform(0.02, 0.05))
        utterance_of += [utterance] * (2 * len(string) + 1)
    frames = np.round(np.array(seconds) * SAMPLE_RATE / HOP).astype(int)
    return np.array(digits), np.array(utterance_of), frames


def _pulses(utterance: np.ndarray, voices: list[Voice], random: np.random.RandomState) -> np.ndarray:
    """Glottal pulses at each voice's pitch, which falls by a fifth over an utterance and trembles [frames · HOP]."""
    pitch = np.array([voice.pitch for voice in voices])[utterance]
    first = np.searchsorted(utterance, np.arange(utterance[-1] + 1))
    length = np.bincount(utterance)
    progress = (np.arange(len(utterance)) - first[utterance]) / length[utterance]
    melody = pitch * (1.1 - 0.2 * progress) * (1 + 0.03 * random.standard_normal(len(utterance)))
    # cycles since the beginning at the edges of frames; a pulse is wherever a cycle is full
    cycles = np.concatenate([[0.0], np.cumsum(melody * HOP / SAMPLE_RATE)])
    places = np.interp(np.arange(1, int(cycles[-1])), cycles, np.arange(len(cycles)) * HOP).astype(int)
    pulses = np.zeros(len(melody) * HOP)
    # of equal power whatever the pitch
    pulses[places] = np.sqrt(SAMPLE_RATE / melody[places // HOP])
    return pulses


def _filtered(sources: tuple[np.ndarray, ...], filters: tuple[np.ndarray, ...], chosen: np.ndarray, sounding: np.ndarray) -> np.ndarray:
    """The sum of sources [frames · HOP], each shaped frame by frame by the chosen magnitudes of its filter, windows overlapping by half.

    Args:
        sources: of the sound.
        filters: of each source [..., bins].
        chosen: which of a filter's magnitudes each frame takes [frames].
        sounding: which frames are no silence [frames].
    """
    frames, pieces = len(chosen), -(-_FFT // HOP)
    windows = [np.lib.stride_tricks.sliding_window_view(np.pad(source, (0, HOP)), _WINDOW)[::HOP] for source in sources]
    tables = [table.reshape(-1, table.shape[-1]) for table in filters]
    fade = np.hanning(_WINDOW + 1)[:-1]
    # a filter of zero phase rings on both sides of a window
    before = (_FFT - _WINDOW) // 2
    made = np.zeros((frames + pieces, HOP))
    for first in range(0, frames, _CHUNK):
        part = slice(first, min(first + _CHUNK, frames))
        spectrum = sum(
            fft.rfft(np.pad(window[part] * fade, ((0, 0), (before, before)))) * table[chosen[part]] for window, table in zip(windows, tables, strict=True)
        )
        shaped = fft.irfft(spectrum * sounding[part, None], _FFT)
        for piece in range(pieces):
            samples = shaped[:, piece * HOP : (piece + 1) * HOP]
            made[part.start + piece : part.stop + piece, : samples.shape[1]] += samples
    return made[:frames].reshape(-1)
