"""Log-mel features: frames of 25 ms every 10 ms, three stacked, as in the paper."""

from __future__ import annotations

import functools

import numpy as np
from scipy import fft

WINDOW_SECONDS = 0.025
HOP_SECONDS = 0.010
STACKED = 3
FLOOR = 1e-6
"""Added to each band's energy, so that silence has a logarithm."""
_LOWEST = 60.0
"""Hz, where the lowest band begins."""


@functools.cache
def mel_filters(rate: int, bands: int, bins: int) -> np.ndarray:
    """Triangles [bins, bands] of unit peak, spread evenly on the mel scale 2595 · log10(1 + f / 700) (O'Shaughnessy 1987)."""
    low, high = (2595 * np.log10(1 + frequency / 700) for frequency in (_LOWEST, rate / 2))
    edges = 700 * (10 ** (np.linspace(low, high, bands + 2) / 2595) - 1)
    frequency = np.linspace(0, rate / 2, bins)[:, None]
    rising = (frequency - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequency) / (edges[2:] - edges[1:-1])
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


def log_mel(samples: np.ndarray, rate: int, bands: int) -> np.ndarray:
    """Natural logarithm of the mel bands' energies [frames, bands] in fp32.

    Args:
        samples: [n] in [−1, 1]; shorter ones than a window are filled up with zeros.
        rate: samples a second.
        bands: number of mel bands.
    """
    window, hop = round(WINDOW_SECONDS * rate), round(HOP_SECONDS * rate)
    size = 1 << (window - 1).bit_length()
    padded = np.pad(samples.astype(np.float32), (0, max(0, window - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop] * np.hanning(window + 2)[1:-1].astype(np.float32)
    spectrum = fft.rfft(frames, size)
    power = spectrum.real**2 + spectrum.imag**2
    energies: np.ndarray = power @ mel_filters(rate, bands, size // 2 + 1)
    return np.log(energies + FLOOR)


def stacked(frames: np.ndarray) -> np.ndarray:
    """Three frames [n, F] side by side, without overlap: [⌈n / 3⌉, 3F]; the last frame fills up the end."""
    missing = -len(frames) % STACKED
    return np.pad(frames, ((0, missing), (0, 0)), mode="edge").reshape(-1, STACKED * frames.shape[1])


def features(samples: np.ndarray, rate: int, bands: int) -> np.ndarray:
    """What networks see of an utterance: [T, 3 · bands] in fp16, which halves the memory and is finer than the noise of hearing."""
    return stacked(log_mel(samples, rate, bands)).astype(np.float16)
