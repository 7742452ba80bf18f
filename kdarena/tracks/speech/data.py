"""The track's data sets as features: parallel close-talk and far-field utterances with their transcripts.

Nothing here imports torch, so that the parent process can name the data of a run. Audio is decoded once and dropped; features are kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from kdarena.tracks.speech.features import features
from kdarena.tracks.speech.tokens import Vocabulary


@dataclass(frozen=True, eq=False)
class Utterance:
    """What was said, as two microphones heard it.

    Attributes:
        name: says where it comes from, for messages.
        transcript: its tokens.
        close, far: samples of the close-talk and of the far microphone [n] in [−1, 1].
        speaker, room, noise: whose and where.
    """

    name: str
    transcript: str
    close: np.ndarray
    far: np.ndarray
    speaker: str
    room: str
    noise: str


@dataclass(frozen=True, eq=False)
class Frames:
    """Features of many utterances, one behind the other.

    Attributes:
        values: [frames, F] in fp16.
        lengths: frames of each utterance [N].
    """

    values: np.ndarray
    lengths: np.ndarray

    def __getitem__(self, row: int) -> np.ndarray:
        """One utterance's features [T, F]."""
        end = int(self.lengths[: row + 1].sum())
        return self.values[end - int(self.lengths[row]) : end]

    def __iter__(self) -> Iterator[np.ndarray]:
        """Each utterance's features [T, F] in turn."""
        ends = np.cumsum(self.lengths)
        return (self.values[end - length : end] for end, length in zip(ends, self.lengths, strict=True))


@dataclass(frozen=True, eq=False)
class Utterances:
    """Utterances: ``close`` and ``far`` are of the same ones in the same order, as ``transcripts``, ``speakers``, ``rooms`` and ``noises`` are."""

    close: Frames
    far: Frames
    transcripts: tuple[str, ...]
    speakers: tuple[str, ...]
    rooms: tuple[str, ...]
    noises: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.transcripts)

    def none(self) -> Utterances:
        """No utterance, of the same kind."""
        close, far = (Frames(frames.values[:0].copy(), frames.lengths[:0].copy()) for frames in (self.close, self.far))
        return Utterances(close, far, (), (), (), ())


@dataclass(frozen=True, eq=False)
class SpeechData:
    """A data set.

    Attributes:
        name: of it.
        vocabulary: its tokens.
        train: with the validation part at its end.
        validation: number of utterances in that part.
        test: the test split.
        digest: 16 hexadecimal digits of its audio and transcripts.
        rate: samples a second.
        bands: mel bands of a frame.
    """

    name: str
    vocabulary: Vocabulary
    train: Utterances
    validation: int
    test: Utterances
    digest: str
    rate: int
    bands: int

    def deviation(self) -> np.ndarray:
        """Standard deviation [F] of the close-talk features that are trained on, each from its utterance's mean."""
        lengths = self.train.close.lengths[: len(self.train) - self.validation]
        values = self.train.close.values[: int(lengths.sum())].astype(np.float32)
        sums = np.add.reduceat(values, np.cumsum(lengths) - lengths, axis=0, dtype=np.float64)
        squares = np.einsum("tf,tf->f", values, values, dtype=np.float64) - (sums**2 / lengths[:, None]).sum(axis=0)
        found: np.ndarray = np.sqrt(squares / lengths.sum())
        return found.astype(np.float32)


def gather(utterances: Iterable[Utterance], rate: int, bands: int, digest: hashlib._Hash | None = None) -> Utterances:
    """Features of utterances; their transcripts and audio go into ``digest`` where one is given."""
    close, far, facts = [], [], []
    for utterance in utterances:
        close.append(features(utterance.close, rate, bands))
        far.append(features(utterance.far, rate, bands))
        facts.append((utterance.transcript, utterance.speaker, utterance.room, utterance.noise))
        if digest is not None:
            digest.update(utterance.transcript.encode())
            for samples in (utterance.close, utterance.far):
                # of samples in fp64 to 12 bits, so that the last bit of another processor's Fourier transform makes no other data set
                digest.update(np.round(samples.astype(np.float64) * 2**11).astype(np.int16).tobytes())
    transcripts, speakers, rooms, noises = (tuple(column) for column in zip(*facts, strict=True))
    return Utterances(_frames(close), _frames(far), transcripts, speakers, rooms, noises)


def _frames(every: list[np.ndarray]) -> Frames:
    return Frames(np.concatenate(every), np.array([len(one) for one in every]))
