"""LibriSpeech's directory layout: ``LibriSpeech/SUBSET/SPEAKER/CHAPTER/`` with an audio file an utterance and
``SPEAKER-CHAPTER.trans.txt``, whose rows are ``UTTERANCE TRANSCRIPT``; far-field audio in a twin folder ``LibriSpeech-far`` of the same names.

Imports nothing heavy: the parent process counts utterances by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kdarena.tracks.downloads import remedy
from kdarena.tracks.rows import count_rows, read_rows
from kdarena.tracks.speech.audio import FLAC_MISSING, SUFFIXES, check_audio, flac_is_read
from kdarena.tracks.speech.tokens import CHARACTERS

FOLDER, TWIN = "LibriSpeech", "LibriSpeech-far"
TRAIN, VALIDATION, TEST = "train-clean-100", "dev-clean", "test-clean"
RATE = 16000
OFFICIAL = {TRAIN: 28539, VALIDATION: 2703, TEST: 2620}
"""Utterances of each subset as it is published."""


@dataclass(frozen=True)
class Row:
    """A row of a transcript file.

    Attributes:
        transcript: in lower case.
        speaker: number of the reader.
        audio: file of the close-talk audio.
        twin: file of the far-field audio, or None where it is simulated.
    """

    transcript: str
    speaker: str
    audio: Path
    twin: Path | None


def missing(data_root: str | None) -> str | None:
    """What is missing below the data root, in one line, or None."""
    to_do = remedy("librispeech", data_root, f"unpack {TRAIN}, {VALIDATION} and {TEST} of openslr.org/12 into DIR and give --data-root DIR")
    if data_root is None:
        return f"no data root for {FOLDER}: {to_do}"
    folders = [Path(data_root) / FOLDER / subset for subset in OFFICIAL]
    absent = next((folder for folder in folders if not folder.is_dir()), None)
    if absent is not None:
        return f"{absent} is missing: {to_do}"
    return FLAC_MISSING if not flac_is_read() and next(folders[-1].glob("*/*/*.flac"), None) else None


def rows(data_root: Path, subset: str) -> list[Row]:
    """The subset's utterances by name, each row and the headers of its audio checked.

    Raises:
        ValueError: in one line, with file and row: a row is wrong, an audio file or a twin is missing or wrong, or audio has no row.
    """
    folder, twins = data_root / FOLDER / subset, data_root / TWIN
    found: list[Row] = []
    for transcripts in sorted(folder.glob("*/*/*.trans.txt")):
        spoken = {path.stem for path in transcripts.parent.iterdir() if path.suffix in SUFFIXES}
        for number, line in enumerate(read_rows(transcripts), 1):
            where = f"{transcripts}, row {number}"
            row = _row(line, where, transcripts, data_root if twins.is_dir() else None)
            if row.audio.stem not in spoken:
                raise ValueError(f"{where}: a second transcript of {row.audio.stem}: remove one")
            spoken.remove(row.audio.stem)
            for path in (row.audio, row.twin):
                if path is not None:
                    check_audio(path, RATE)
            found.append(row)
        if spoken:
            raise ValueError(f"{transcripts}: no row for {min(spoken)}, whose audio is next to it: add its transcript or remove the audio")
    if not found:
        raise ValueError(f"{folder}: no SPEAKER/CHAPTER/*.trans.txt with an utterance in it")
    return found


def _row(line: str, where: str, transcripts: Path, twins_of: Path | None) -> Row:
    name, _, transcript = line.strip().partition(" ")
    transcript = transcript.lower()
    prefix = transcripts.name.removesuffix(".trans.txt")
    if not name.startswith(f"{prefix}-"):
        raise ValueError(f"{where}: {name!r} is no utterance of {prefix}: a row is UTTERANCE TRANSCRIPT")
    try:
        CHARACTERS.encode(transcript)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    audio = _audio(transcripts.parent / name)
    if audio is None:
        raise ValueError(f"{where}: {transcripts.parent / name}.flac is missing: add it or remove the row")
    twin = None
    if twins_of is not None:
        place = twins_of / TWIN / transcripts.parent.relative_to(twins_of / FOLDER) / name
        twin = _audio(place)
        if twin is None:
            raise ValueError(f"{where}: {name} has no parallel twin: {place}.flac is missing")
    return Row(transcript, transcripts.parent.parent.name, audio, twin)


def _audio(place: Path) -> Path | None:
    return next((path for suffix in SUFFIXES if (path := place.parent / (place.name + suffix)).is_file()), None)


def sizes(data_root: str | None) -> dict[str, int]:
    """Utterances of each subset by its transcripts' rows; as published where the data are not there."""
    if missing(data_root) is not None:
        return OFFICIAL
    folder = Path(str(data_root)) / FOLDER
    return {subset: sum(count_rows(path) for path in folder.glob(f"{subset}/*/*/*.trans.txt")) for subset in OFFICIAL}
