import numpy as np
import pytest

from kdarena.tracks.speech.features import FLOOR, features, log_mel, mel_filters, stacked


def test_a_frame_is_the_logarithm_of_triangles_over_the_power_spectrum_of_25_ms():
    rate, bands = 8000, 5
    samples = np.random.RandomState(0).standard_normal(400).astype(np.float32)
    found = log_mel(samples, rate, bands)
    assert found.shape == (1 + (400 - 200) // 80, bands)
    # the second frame by the definition of the Fourier transform and of the mel scale
    n = np.arange(200)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * (n + 1) / 201)
    frame = samples[80:280] * window
    power = np.array([abs(np.sum(frame * np.exp(-2j * np.pi * k * n / 256))) ** 2 for k in range(129)])
    mels = np.linspace(2595 * np.log10(1 + 60 / 700), 2595 * np.log10(1 + 4000 / 700), bands + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    for band in range(bands):
        triangle = np.interp(np.arange(129) * 8000 / 256, edges[band : band + 3], [0, 1, 0])
        assert found[1, band] == pytest.approx(np.log(triangle @ power + FLOOR), abs=1e-4)


def test_a_tone_is_loudest_in_its_band():
    for rate in (8000, 16000):
        tone = np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)
        filters = mel_filters(rate, 20, 257)
        nearest = filters[round(1000 / (rate / 2) * 256)].argmax()
        assert set(log_mel(tone, rate, 20).argmax(axis=1)) == {nearest}


def test_frames_come_every_10_ms_at_every_rate():
    assert len(log_mel(np.zeros(8000), 8000, 20)) == len(log_mel(np.zeros(16000), 16000, 20)) == 98


def test_three_frames_are_stacked_and_the_last_one_fills_up_the_end():
    frames = np.arange(14.0).reshape(7, 2)
    found = stacked(frames)
    assert found.shape == (3, 6)
    assert found[0].tolist() == [0, 1, 2, 3, 4, 5]
    assert found[2].tolist() == [12, 13, 12, 13, 12, 13]


def test_audio_shorter_than_a_window_and_silence_have_finite_features():
    assert features(np.ones(10), 8000, 20).shape == (1, 60)
    assert np.isfinite(features(np.zeros(4000), 8000, 20)).all()
