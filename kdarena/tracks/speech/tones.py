"""The embedded data set: strings of two to five digits from the formant synthesiser, and what a far microphone hears of them.

Train, validation and test share no speaker, room or noise.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np

from kdarena.tracks.speech import synthesiser
from kdarena.tracks.speech.data import SpeechData, Utterance, gather
from kdarena.tracks.speech.room import Surroundings
from kdarena.tracks.speech.synthesiser import Voice
from kdarena.tracks.speech.tokens import DIGITS

NAME = "tones"
RATE = synthesiser.SAMPLE_RATE
BANDS = 20
DIGITS_A_STRING = (2, 5)
HISS_DB = (15.0, 30.0)
"""Range of the speech's power over that of the close-talk microphone's own hiss."""


@dataclass(frozen=True)
class Plan:
    """One part's utterances and the world that they come from.

    Attributes:
        part: its name.
        utterances, speakers, rooms, noises: how many.
        seed: decides the part, for ever.
    """

    part: str
    utterances: int
    speakers: int
    rooms: int
    noises: int
    seed: int

    def voices(self) -> tuple[Voice, ...]:
        """The part's speakers, men and women in turn: women's tracts are shorter and their pitch is higher."""
        random = np.random.RandomState(self.seed)  # this generator's streams are frozen across versions of numpy
        return tuple(_voice(speaker, random) for speaker in range(self.speakers))

    def surroundings(self) -> Surroundings:
        """The part's rooms and noises."""
        return Surroundings(self.part, self.rooms, self.noises, self.seed + 1, RATE)


TRAIN = Plan("train", 1000, 24, 24, 16, 1001)
VALIDATION = Plan("validation", 150, 6, 6, 4, 2001)
TEST = Plan("test", 400, 8, 8, 6, 3001)


def _voice(speaker: int, random: np.random.RandomState) -> Voice:
    tract, pitch = ((0.95, 1.08), (90, 150)) if speaker % 2 == 0 else ((0.80, 0.92), (160, 240))
    return Voice(
        pitch=random.uniform(*pitch),
        tract=random.uniform(*tract),
        tempo=random.uniform(0.85, 1.2),
        breath=random.uniform(0.02, 0.15),
        accent=random.randint(2**31),
    )


def utterances(plan: Plan) -> Iterator[Utterance]:
    """A part's utterances, the same on every machine."""
    voices, surroundings = plan.voices(), plan.surroundings()
    random = np.random.RandomState(plan.seed + 2)
    shortest, longest = DIGITS_A_STRING
    strings = [random.randint(10, size=random.randint(shortest, longest + 1)).tolist() for _ in range(plan.utterances)]
    speakers = random.randint(plan.speakers, size=plan.utterances)
    spoken = synthesiser.speak(strings, [voices[speaker] for speaker in speakers], random)
    for number, (string, speaker, samples) in enumerate(zip(strings, speakers, spoken, strict=True)):
        heard = surroundings.hear(samples, random)
        yield Utterance(
            name=f"{NAME}/{plan.part}/{number}",
            transcript=" ".join(DIGITS.tokens[digit] for digit in string),
            close=_recorded(samples, random),
            far=heard.samples,
            speaker=f"{plan.part}-speaker{speaker}",
            room=heard.room,
            noise=heard.noise,
        )


def _recorded(samples: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """What a close-talk microphone with some hiss makes of the speech."""
    hiss = math.sqrt(np.mean(samples**2)) * 10 ** (-random.uniform(*HISS_DB) / 20)
    return samples + hiss * random.standard_normal(len(samples))


@functools.cache
def load() -> SpeechData:
    """The data set; made once a process."""
    digest = hashlib.sha256()
    train = gather(chain(utterances(TRAIN), utterances(VALIDATION)), RATE, BANDS, digest)
    test = gather(utterances(TEST), RATE, BANDS, digest)
    return SpeechData(NAME, DIGITS, train, VALIDATION.utterances, test, digest.hexdigest()[:16], RATE, BANDS)
