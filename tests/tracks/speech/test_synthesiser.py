import numpy as np
import pytest

from kdarena.tracks.speech.synthesiser import DIGITS, DURATIONS, SAMPLE_RATE, Voice, speak, transfer_functions

MAN = Voice(pitch=110.0, tract=1.0, tempo=1.0, breath=0.02, accent=1)
WOMAN = Voice(pitch=220.0, tract=0.85, tempo=1.0, breath=0.02, accent=1)


def spoken(digits: list[int], voice: Voice, seed: int = 0) -> np.ndarray:
    return speak([digits], [voice], np.random.RandomState(seed))[0]


@pytest.mark.parametrize("voice", [MAN, WOMAN])
def test_a_vowel_repeats_at_the_speakers_pitch(voice: Voice):
    samples = spoken([9], voice)
    middle = samples[len(samples) // 2 - 400 : len(samples) // 2 + 400]
    correlation = np.correlate(middle, middle, mode="full")[799:]
    shortest = SAMPLE_RATE // 400
    period = shortest + correlation[shortest : SAMPLE_RATE // 70].argmax()
    assert SAMPLE_RATE / period == pytest.approx(voice.pitch, rel=0.15)


def test_formants_rise_as_the_tract_gets_shorter():
    """A tube's resonances are inverse to its length: each peak of the first vowel of nine moves by the ratio of the tracts."""
    (long, short), _ = transfer_functions([MAN, WOMAN])
    first, second = (peaks(response[9, 20])[:2] for response in (long, short))
    assert first == pytest.approx([0.85 * bin_ for bin_ in second], rel=0.06)


def peaks(response: np.ndarray) -> list[int]:
    """Bins of the local maxima of a frequency response, from below."""
    inner = response[1:-1]
    return [1 + int(place) for place in np.flatnonzero((inner > response[:-2]) & (inner >= response[2:]))]


def test_hissing_is_higher_than_a_vowel():
    samples = spoken([6], MAN)
    first = samples[300:700]
    vowel = spoken([8], MAN)[500:900]
    centres = [np.abs(np.fft.rfft(part)) ** 2 for part in (first, vowel)]
    hiss, voiced = ((np.arange(len(power)) * power).sum() / power.sum() for power in centres)
    assert hiss > 2 * voiced


def test_a_faster_speaker_is_shorter():
    slow, fast = spoken([1, 2, 3], MAN), spoken([1, 2, 3], Voice(110.0, 1.0, 1.3, 0.02, 1))
    assert len(fast) < len(slow)
    assert len(spoken([4] * 5, MAN)) / SAMPLE_RATE == pytest.approx(5 * DURATIONS[4] + 5 * 0.015 + 0.035, abs=0.15)


def test_ten_digits_are_distinguished_and_speakers_differ_by_their_accent():
    _, noise = transfer_functions([MAN])
    pulses, _ = transfer_functions([MAN, Voice(110.0, 1.0, 1.0, 0.02, 2)])
    assert len(DIGITS) == 10 and noise.shape == (1, 10, 48, 129)
    assert len({np.round(pulses[0, digit], 3).tobytes() for digit in range(10)}) == 10
    assert not np.allclose(pulses[0], pulses[1])


def test_utterances_do_not_run_into_one_another_and_are_equally_loud():
    strings, voices = [[1, 2], [3], [4, 5, 6]], [MAN, WOMAN, MAN]
    every = speak(strings, voices, np.random.RandomState(3))
    assert len(every) == 3
    for samples in every:
        assert np.sqrt(np.mean(samples**2)) == pytest.approx(0.05, rel=1e-4)
        assert np.abs(samples[-80:]).max() < 0.02


def test_the_same_generator_says_the_same():
    assert np.array_equal(spoken([1, 2, 3], MAN, 5), spoken([1, 2, 3], MAN, 5))
    assert not np.array_equal(spoken([1, 2, 3], MAN, 5)[:2000], spoken([1, 2, 3], MAN, 6)[:2000])
