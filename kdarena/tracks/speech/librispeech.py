"""LibriSpeech (Panayotov et al. 2015, openslr.org/12) in characters, close-talk and far-field.

Far-field audio is simulated, in rooms and with noises of each subset's own, where there is no twin folder.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from kdarena.seeds import derive
from kdarena.tracks.speech.audio import read_audio
from kdarena.tracks.speech.data import SpeechData, Utterance, gather
from kdarena.tracks.speech.librispeech_layout import OFFICIAL, RATE, TEST, TRAIN, VALIDATION, Row, missing, rows
from kdarena.tracks.speech.room import Surroundings
from kdarena.tracks.speech.tokens import CHARACTERS

NAME = "librispeech"
BANDS = 80
_ROOMS = {TRAIN: (100, 50, 7001), VALIDATION: (20, 10, 8001), TEST: (20, 10, 9001)}
"""Rooms, noises and seed of each subset's simulation."""


def utterances(subset: str, known: list[Row]) -> Iterator[Utterance]:
    """Audio of the rows; simulated far-field audio hangs on an utterance's name alone."""
    rooms_, noises, seed = _ROOMS[subset]
    surroundings = Surroundings(subset, rooms_, noises, seed, RATE)
    for row in known:
        close, name = read_audio(row.audio, RATE), row.audio.stem
        if row.twin is not None:
            yield Utterance(name, row.transcript, close, read_audio(row.twin, RATE), row.speaker, f"{subset}-recorded", f"{subset}-recorded")
        else:
            heard = surroundings.hear(close, np.random.RandomState(derive(seed, name) % 2**32))
            yield Utterance(name, row.transcript, close, heard.samples, row.speaker, heard.room, heard.noise)


def digest(data_root: str | None) -> str:
    """16 hexadecimal digits of the transcripts and of the audio files' names and sizes; raises as :func:`rows` does."""
    hashed = hashlib.sha256()
    for subset in OFFICIAL:
        for row in _checked(data_root, subset):
            hashed.update(f"{subset} {row.audio.name} {row.transcript} {row.audio.stat().st_size} {row.twin.stat().st_size if row.twin else ''}\n".encode())
    return hashed.hexdigest()[:16]


def load(data_root: str | None) -> SpeechData:
    """All of it as features, about 60 MB an hour of audio; raises as :func:`rows` does."""
    train, validation, test = (_checked(data_root, subset) for subset in (TRAIN, VALIDATION, TEST))
    held = gather(chain(utterances(TRAIN, train), utterances(VALIDATION, validation)), RATE, BANDS)
    return SpeechData(NAME, CHARACTERS, held, len(validation), gather(utterances(TEST, test), RATE, BANDS), digest(data_root), RATE, BANDS)


def _checked(data_root: str | None, subset: str) -> list[Row]:
    problem = missing(data_root)
    if problem is not None:
        raise ValueError(problem)
    return _rows_once(Path(str(data_root)).resolve(), subset)


@functools.lru_cache(maxsize=3)
def _rows_once(data_root: Path, subset: str) -> list[Row]:
    return rows(data_root, subset)
