from itertools import combinations

import numpy as np
import pytest

from kdarena.tracks.speech import tones
from kdarena.tracks.speech.data import SpeechData, Utterance, Utterances
from kdarena.tracks.speech.features import features


@pytest.fixture(scope="module")
def data() -> SpeechData:
    return tones.load()


def part(data: SpeechData, name: str) -> slice:
    held = len(data.train) - data.validation
    return {"train": slice(0, held), "validation": slice(held, None)}[name]


def test_parts_share_no_speaker_room_or_noise(data: SpeechData):
    for facts in ("speakers", "rooms", "noises"):
        parts = [set(getattr(data.train, facts)[part(data, name)]) for name in ("train", "validation")] + [set(getattr(data.test, facts))]
        assert all(parts) and not any(one & other for one, other in combinations(parts, 2))


def test_what_speakers_rooms_and_noises_are_differs_too():
    plans = (tones.TRAIN, tones.VALIDATION, tones.TEST)
    voices = [voice for plan in plans for voice in plan.voices()]
    rooms = [(room.size, room.talker, room.microphone, room.seed) for plan in plans for room in plan.surroundings().rooms]
    noises = [(noise.levels, noise.seed) for plan in plans for noise in plan.surroundings().noises]
    for known in (voices, rooms, noises):
        assert len(set(known)) == len(known)


def test_strings_have_two_to_five_digits_and_every_digit_occurs(data: SpeechData):
    for split in (data.train, data.test):
        strings = [transcript.split(" ") for transcript in split.transcripts]
        assert {len(string) for string in strings} == {2, 3, 4, 5}
        assert {word for string in strings for word in string} == set(data.vocabulary.tokens)


def test_close_talk_and_far_field_are_of_the_same_utterances():
    every = list(tones.utterances(tones.Plan("small", 5, 3, 2, 2, 1)))

    def unexplained(one: Utterance, other: Utterance) -> float:
        """Share of a far recording's power that no filter of 50 ms makes of a close one's."""
        length = min(len(one.close), len(other.far))
        delayed = np.lib.stride_tricks.sliding_window_view(np.pad(one.close[:length], (399, 0)), 400)
        _, (rest,), *_ = np.linalg.lstsq(delayed, other.far[:length], rcond=None)
        return float(rest / np.sum(other.far[:length] ** 2))

    for row, utterance in enumerate(every):
        assert unexplained(utterance, utterance) < 0.9 * min(unexplained(other, utterance) for other in every[:row] + every[row + 1 :])


def test_both_versions_of_a_split_are_in_the_same_order(data: SpeechData):
    for split in (data.train, data.test):
        assert np.array_equal(split.close.lengths, split.far.lengths)
        assert len(split) == len(split.close.lengths) == len(split.speakers) == len(split.rooms) == len(split.noises)


def test_the_same_data_come_out_every_time(data: SpeechData):
    again = [features(utterance.close, tones.RATE, tones.BANDS) for utterance in tones.utterances(tones.TEST)]
    assert np.array_equal(np.concatenate(again), data.test.close.values)
    assert data.digest == DIGEST


DIGEST = "7d7cb9f4f746b28c"


def test_the_deviation_is_that_from_each_utterances_mean_where_it_is_trained(data: SpeechData):
    held = len(data.train) - data.validation
    centred = [values - values.mean(axis=0) for values in (data.train.close[row].astype(float) for row in range(held))]
    np.testing.assert_allclose(data.deviation(), np.concatenate(centred).std(axis=0), rtol=1e-4)


def test_a_split_gives_one_utterance(data: SpeechData):
    split: Utterances = data.test
    assert len(split.close[3]) == split.close.lengths[3]
    assert np.array_equal(split.close[1], split.close.values[split.close.lengths[0] : split.close.lengths[:2].sum()])
