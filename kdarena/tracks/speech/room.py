"""Far-field simulation: a room's impulse response, and noise at a given ratio.

The first reflections are those of a box by the image method (Allen and Berkley 1979, J. Acoust. Soc. Am. 65, 943), the rest is noise
that decays exponentially, as in a diffuse field.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import fft

SPEED_OF_SOUND = 343.0
"""Metres a second."""
RATIO_DB = (0.0, 20.0)
"""Range of the reverberant speech's power over the noise's."""
NOISE_SECONDS = 4
"""After which a noise begins again."""
_EARLY_SECONDS = 0.04
"""From the direct sound on, of the reflections that are computed one by one."""
_DECAY = math.log(1000.0)
"""Of the amplitude over the reverberation time: 60 dB."""


@dataclass(frozen=True)
class Room:
    """A box with a talker and a microphone in it.

    Attributes:
        name: of the room.
        size: its edges, metres.
        talker, microphone: where they are, metres from one corner.
        reverberation: seconds in which sound decays by 60 dB (T60).
        seed: of the diffuse tail.
    """

    name: str
    size: tuple[float, float, float]
    talker: tuple[float, float, float]
    microphone: tuple[float, float, float]
    reverberation: float
    seed: int

    @property
    def reflection(self) -> float:
        """Amplitude that walls reflect, from T60 by Sabine's formula."""
        x, y, z = self.size
        absorption = 0.161 * x * y * z / (2 * (x * y + y * z + x * z) * self.reverberation)
        return math.sqrt(max(0.0, 1 - absorption))


def draw_room(name: str, random: np.random.RandomState) -> Room:
    """An office or a living room with T60 of 0.2 to 0.5 s, talker and microphone at least half a metre from each wall and 1 m apart."""
    while True:
        size = tuple(random.uniform((3.0, 3.0, 2.4), (7.0, 6.0, 3.2)).round(3))
        talker, microphone = (tuple(random.uniform(0.5, np.array(size) - 0.5).round(3)) for _ in range(2))
        reverberation, seed = round(random.uniform(0.2, 0.5), 3), int(random.randint(2**31))
        if math.dist(talker, microphone) >= 1.0:
            return Room(name, size, talker, microphone, reverberation, seed)


def impulse_response(room: Room, rate: int) -> np.ndarray:
    """From the direct sound on [n], its first sample 1; as long as two thirds of T60, after which 40 dB are gone."""
    seconds = max(_EARLY_SECONDS, room.reverberation * 2 / 3)
    response = np.zeros(int(seconds * rate) + 1)
    early = int(_EARLY_SECONDS * rate)
    delays, amplitudes = _images(room, _EARLY_SECONDS)
    np.add.at(response, np.round(delays * rate).astype(int), amplitudes)
    times = np.arange(early, len(response)) / rate
    tail = np.random.RandomState(room.seed).standard_normal(len(times)) * np.exp(-_DECAY * times / room.reverberation)
    # the tail goes on with the power that the last reflections have by then
    last = response[early // 2 : early]
    grown = math.exp(_DECAY * 0.75 * _EARLY_SECONDS / room.reverberation)
    response[early:] += tail * grown * math.sqrt(np.mean(last**2))
    scaled: np.ndarray = response / response[0]
    return scaled


def _images(room: Room, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Delays after the direct sound, in [0, seconds), and amplitudes of the talker's images."""
    size, talker, microphone = (np.array(place) for place in (room.size, room.talker, room.microphone))
    reach = seconds * SPEED_OF_SOUND + math.dist(room.talker, room.microphone)
    counts = np.ceil(reach / (2 * size)).astype(int)
    boxes = np.stack(np.meshgrid(*(np.arange(-count, count + 1) for count in counts), indexing="ij"), axis=-1).reshape(-1, 1, 3)
    mirrored = np.stack(np.meshgrid(*[(0, 1)] * 3, indexing="ij"), axis=-1).reshape(1, -1, 3)
    places = (1 - 2 * mirrored) * talker + 2 * boxes * size
    walls = np.abs(boxes - mirrored) + np.abs(boxes)
    distances = np.linalg.norm(places - microphone, axis=-1).ravel()
    amplitudes = (room.reflection ** walls.sum(axis=-1)).ravel() / distances
    delays = (distances - math.dist(room.talker, room.microphone)) / SPEED_OF_SOUND
    heard = delays < seconds
    return np.maximum(delays[heard], 0.0), amplitudes[heard]


@dataclass(frozen=True)
class Noise:
    """A steady or swelling coloured noise.

    Attributes:
        name: of the noise.
        levels: of its spectrum in dB at frequencies spread evenly up to half the sampling rate.
        swell: depth in [0, 1] of its change of loudness.
        beat: how fast its loudness changes, Hz.
        seed: of its samples.
    """

    name: str
    levels: tuple[float, ...]
    swell: float
    beat: float
    seed: int


def draw_noise(name: str, random: np.random.RandomState) -> Noise:
    """A spectrum that falls by up to 30 dB, with bumps."""
    levels = -np.linspace(0.0, random.uniform(0.0, 30.0), 9) + random.uniform(-8.0, 8.0, 9)
    return Noise(name, tuple(levels.round(3)), round(random.uniform(0.0, 0.8), 3), round(random.uniform(1.0, 6.0), 3), int(random.randint(2**31)))


def noise_samples(noise: Noise, count: int, rate: int) -> np.ndarray:
    """``count`` samples of unit power."""
    white = fft.rfft(np.random.RandomState(noise.seed).standard_normal(count))
    places = np.linspace(0.0, 1.0, len(noise.levels))
    coloured = fft.irfft(white * 10 ** (np.interp(np.linspace(0.0, 1.0, len(white)), places, noise.levels) / 20), count)
    coloured *= 1 + noise.swell * np.sin(2 * math.pi * noise.beat * np.arange(count) / rate)
    scaled: np.ndarray = coloured / np.sqrt(np.mean(coloured**2))
    return scaled


class Surroundings:
    """Rooms and noises of one part of a data set, drawn from a seed of its own.

    Args:
        part: its name; it is in the names of its rooms and noises.
        rooms, noises: how many.
        seed: decides them, for ever.
        rate: samples a second.
    """

    def __init__(self, part: str, rooms: int, noises: int, seed: int, rate: int):
        random = np.random.RandomState(seed)  # this generator's streams are frozen across versions of numpy
        self.rooms = tuple(draw_room(f"{part}-room{number}", random) for number in range(rooms))
        self.noises = tuple(draw_noise(f"{part}-noise{number}", random) for number in range(noises))
        self._responses = [impulse_response(room, rate) for room in self.rooms]
        self._samples = [noise_samples(noise, NOISE_SECONDS * rate, rate) for noise in self.noises]

    def hear(self, close: np.ndarray, random: np.random.RandomState) -> Heard:
        """Close-talk samples as a far microphone hears them in one of the rooms with one of the noises, at 0 to 20 dB."""
        room, noise = random.randint(len(self.rooms)), random.randint(len(self.noises))
        # its carrier has no seam and only its swell jumps, so it goes on as long as it is needed
        start = random.randint(len(self._samples[noise]))
        heard = self._samples[noise].take(np.arange(start, start + len(close)), mode="wrap")
        samples = far_field(close, self._responses[room], heard, random.uniform(*RATIO_DB))
        return Heard(samples, self.rooms[room].name, self.noises[noise].name)


class Heard(NamedTuple):
    """What a far microphone heard [n], in which room, with which noise."""

    samples: np.ndarray
    room: str
    noise: str


def far_field(close: np.ndarray, response: np.ndarray, noise: np.ndarray, ratio: float) -> np.ndarray:
    """What a far microphone hears of close-talk samples [n]: [n] in fp64, of the same power.

    Args:
        close: the talker's own samples.
        response: of the room.
        noise: [n], of any power.
        ratio: of the reverberant speech's power to the noise's, dB.
    """
    length = fft.next_fast_len(len(close) + len(response) - 1, real=True)
    heard = fft.irfft(fft.rfft(close.astype(np.float64), length) * fft.rfft(response, length), length)[: len(close)]
    power, unwanted, wanted = (float(np.mean(samples**2)) for samples in (heard, noise, close))
    if min(power, unwanted) > 0:
        heard = heard + noise * math.sqrt(power / (unwanted * 10 ** (ratio / 10)))
    loudness = float(np.mean(heard**2))
    far: np.ndarray = heard * math.sqrt(wanted / loudness) if loudness > 0 else heard
    return far
