"""Strings of real recorded digits: the Free Spoken Digit Dataset (github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0).

Its speakers in alphabetical order: the last one is the test, the last but one the validation part, all others are trained on.
Recordings of one speaker are strung together; the far-field version is simulated, in rooms and with noises of the part's own.
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from kdarena.tracks.downloads import remedy
from kdarena.tracks.speech.audio import read_audio
from kdarena.tracks.speech.data import SpeechData, Utterance, gather
from kdarena.tracks.speech.room import Surroundings
from kdarena.tracks.speech.tokens import DIGITS

NAME = "fsdd"
FOLDER = Path("free-spoken-digit-dataset") / "recordings"
RATE = 8000
BANDS = 40
DIGITS_A_STRING = (2, 5)
PAUSE_SECONDS = (0.0, 0.1)
LOUDNESS = 0.05
"""Root mean square of each string: speakers' recordings are of very different levels."""
_FILE = re.compile(r"(?P<digit>\d)_(?P<speaker>[^_]+)_(?P<index>\d+)\.wav")


@dataclass(frozen=True)
class Plan:
    """How many strings a part has, and its rooms and noises.

    Attributes:
        part: its name.
        strings, rooms, noises: how many.
        seed: decides them, for ever.
    """

    part: str
    strings: int
    rooms: int
    noises: int
    seed: int


TRAIN = Plan("train", 2000, 24, 16, 4001)
VALIDATION = Plan("validation", 300, 6, 4, 5001)
TEST = Plan("test", 500, 8, 6, 6001)

Recordings = Mapping[str, Mapping[int, tuple[Path, ...]]]
"""Files by speaker and digit."""


def missing(data_root: str | None) -> str | None:
    """What is missing below the data root, in one line, or None."""
    to_do = remedy(NAME, data_root, "clone github.com/Jakobovski/free-spoken-digit-dataset into DIR and give --data-root DIR")
    if data_root is None:
        return f"no data root for {FOLDER}: {to_do}"
    folder = Path(data_root) / FOLDER
    return None if folder.is_dir() else f"{folder} is missing: {to_do}"


def recordings(folder: Path) -> Recordings:
    """All recordings in the folder, by the names of their files.

    Raises:
        ValueError: in one line: a file's name is none of the data set, or a speaker lacks a digit, or there are fewer than three speakers.
    """
    recordings: dict[str, dict[int, list[Path]]] = {}
    for path in sorted(folder.glob("*.wav")):
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise ValueError(f"{path}: its name is not DIGIT_SPEAKER_INDEX.wav: rename or remove it")
        recordings.setdefault(match["speaker"], {}).setdefault(int(match["digit"]), []).append(path)
    if len(recordings) < 3:
        raise ValueError(f"{folder}: recordings of {len(recordings)} speakers, three are needed for train, validation and test")
    for speaker, digits in recordings.items():
        absent = next((digit for digit in range(10) if digit not in digits), None)
        if absent is not None:
            raise ValueError(f"{folder}: no recording of digit {absent} by {speaker}: {absent}_{speaker}_0.wav is missing")
    return {speaker: {digit: tuple(paths) for digit, paths in digits.items()} for speaker, digits in recordings.items()}


def utterances(plan: Plan, known: Recordings, speakers: list[str]) -> Iterator[Utterance]:
    """A part's strings by the given speakers, the same wherever the recordings are the same."""
    samples = {path: read_audio(path, RATE) for speaker in speakers for paths in known[speaker].values() for path in paths}
    surroundings = Surroundings(plan.part, plan.rooms, plan.noises, plan.seed, RATE)
    random = np.random.RandomState(plan.seed + 1)
    shortest, longest = DIGITS_A_STRING
    for number in range(plan.strings):
        speaker = speakers[random.randint(len(speakers))]
        string = random.randint(10, size=random.randint(shortest, longest + 1)).tolist()
        pieces = []
        for digit in string:
            paths = known[speaker][digit]
            pieces += [np.zeros(int(random.uniform(*PAUSE_SECONDS) * RATE), np.float32), samples[paths[random.randint(len(paths))]]]
        close = np.concatenate(pieces)
        close = close * np.float32(LOUDNESS / max(math.sqrt(np.mean(close**2)), 1e-8))
        heard = surroundings.hear(close, random)
        transcript = " ".join(DIGITS.tokens[digit] for digit in string)
        yield Utterance(f"{NAME}/{plan.part}/{number}", transcript, close, heard.samples, speaker, heard.room, heard.noise)


def load(data_root: str | None) -> SpeechData:
    """The data set below the data root; made once a process for the same files.

    Raises:
        ValueError: in one line, with the file: something is missing, or an audio file is wrong.
    """
    problem = missing(data_root)
    if problem is not None:
        raise ValueError(problem)
    folder = Path(str(data_root)).resolve() / FOLDER
    stamps = tuple(sorted((path.name, stat.st_size, stat.st_mtime_ns) for path in folder.glob("*.wav") for stat in (path.stat(),)))
    return _made(folder, stamps)


@functools.lru_cache(maxsize=1)
def _made(folder: Path, stamps: tuple[tuple[str, int, int], ...]) -> SpeechData:
    known = recordings(folder)
    *trained, validation, test = sorted(known)
    digest = hashlib.sha256()
    train = gather(chain(utterances(TRAIN, known, trained), utterances(VALIDATION, known, [validation])), RATE, BANDS, digest)
    tested = gather(utterances(TEST, known, [test]), RATE, BANDS, digest)
    return SpeechData(NAME, DIGITS, train, VALIDATION.strings, tested, digest.hexdigest()[:16], RATE, BANDS)
