"""Looking through a folder of pictures before it is a task: its files read, its parts, its networks, and what a user has to know. Imports no torch for listed networks."""

from __future__ import annotations

import contextlib
import functools
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kdarena.files import write_atomically
from kdarena.tracks.classification.listing import Listing, Problem, first_few, listed, listed_without_classes, shown
from kdarena.tracks.classification.models import facts
from kdarena.tracks.classification.models.references import FORMS, Facts, is_reference, with_taps
from kdarena.tracks.classification.pictures import suffixes
from kdarena.tracks.classification.split import Division, divided
from kdarena.tracks.classification.store import Decoded, decoded, usual_side
from kdarena.tracks.rows import check_labels

PAIR = ("resnet32x4", "resnet8x4")
"""The networks where none are named."""
SMALL, LARGER = 32, 64
"""Pixels of a side for pictures of up to 48 pixels and for larger ones, where neither the user nor a network says another size."""
SMALL_UP_TO = 48
LARGEST_SIZE = 1_024
LARGEST_LISTED = 64
"""Pixels of a side up to which a listed network is taken for the one that is not named."""
NAMED = 3
"""Files that a line names."""
PROBLEMS = "problems.txt"
"""File in the cache with all that can't be used, a line each."""


@dataclass(frozen=True)
class FolderSettings:
    """What the user said of a folder of pictures.

    Attributes:
        folder, unlabelled: absolute paths.
        skip_unreadable: whether to go on without what can't be used.
        teacher, student: names of networks, or None.
        taps: stages of networks by reference, as they were typed.
        image_size: pixels of a side, or None.
        class_weights: ``balanced``: the loss of a sample is weighed by the inverse of its class's size.
    """

    folder: str
    unlabelled: str | None = None
    skip_unreadable: bool = False
    teacher: str | None = None
    student: str | None = None
    taps: str | None = None
    image_size: int | None = None
    class_weights: Literal["balanced", "none"] = "none"


@dataclass(frozen=True, eq=False)
class Survey:
    """A folder that was looked through: everything that a card says of it.

    Attributes:
        said: by the user.
        teacher, student: names of the networks.
        of_teacher, of_student: what is known of them.
        size: pixels of a side.
        listing: of the folder.
        decoded: its files.
        division: its parts.
        unlabelled: the other folder's files, decoded, and the digests of its pictures.
        problems: whatever can't be used, of both folders.
        files: how many were looked at.
    """

    said: FolderSettings
    teacher: str
    student: str
    of_teacher: Facts
    of_student: Facts
    size: int
    listing: Listing
    decoded: Decoded
    division: Division
    unlabelled: tuple[Decoded, tuple[str, ...]] | None
    problems: tuple[Problem, ...]
    files: int
    notes: tuple[str, ...]


def surveyed(said: FolderSettings) -> Survey:
    """A folder as it is now; what has changed is read.

    Raises:
        ValueError: in one line: there is no such folder, it has no classes, a network can't be used, or the cache can't be written.
    """
    return _survey(said, *_listings(said))


def _listings(said: FolderSettings) -> tuple[Listing, Listing | None]:
    """What both folders have now."""
    return listed(Path(said.folder)), listed_without_classes(Path(said.unlabelled)) if said.unlabelled else None


@functools.lru_cache(maxsize=4)
def _survey(said: FolderSettings, listing: Listing, further: Listing | None) -> Survey:
    """Read what both folders have, as far as it is not known."""
    teacher, student = _pair(said)
    size = _size(said, (teacher, student), listing)
    pictures = decoded(listing.root, listing.files, size)
    division = divided(listing, pictures.verdicts)
    unlabelled = _unlabelled(further, size) if further is not None else None
    classes = max(2, len(division.classes))
    of_teacher, of_student = (facts(name, classes, 3, (size, size)) for name in (teacher, student))
    if not of_student.trainable:
        raise ValueError(f"network {student}: an ONNX file can only be a teacher; name the student by {FORMS}")
    problems, others = _problems(listing, pictures)
    notes = [*_notes(listing, others, pictures), *division.notes]
    if further is not None and unlabelled is not None:
        further_problems, further_others = _problems(further, unlabelled[0])
        problems += [Problem(os.path.join(further.root, problem.path), problem.why) for problem in further_problems]  # the others are below the first folder
        notes += _notes(further, further_others, unlabelled[0])
        seen = {sample.digest for sample in division.test} & set(unlabelled[1])
        notes += [f"{shown(further.root)}: {len(seen):,} unlabelled pictures are also test pictures, and methods learn from them"] if seen else []
    files = len(listing.files) + (len(further.files) if further is not None else 0)
    problems += division.problems
    return Survey(said, teacher, student, of_teacher, of_student, size, listing, pictures, division, unlabelled, tuple(problems), files, tuple(notes))


def _unlabelled(listing: Listing, size: int) -> tuple[Decoded, tuple[str, ...]]:
    """A folder's pictures without their classes, each once.

    Raises:
        ValueError: in one line: it has none.
    """
    pictures = decoded(listing.root, listing.files, size)
    digests = tuple(sorted({verdict.digest for verdict in pictures.verdicts.values() if verdict.problem is None}))
    if not digests:
        raise ValueError(f"{shown(listing.root)}: it has no picture that can be used; give --unlabelled a folder with some")
    return pictures, digests


def _pair(said: FolderSettings) -> tuple[str, str]:
    teacher, student = (with_taps(name or PAIR[place], said.taps, role) for place, (role, name) in enumerate(_roles(said)))
    return teacher, student


def _roles(said: FolderSettings) -> tuple[tuple[Literal["teacher", "student"], str | None], ...]:
    return ("teacher", said.teacher), ("student", said.student)


def _size(said: FolderSettings, pair: tuple[str, str], listing: Listing) -> int:
    """Pixels of a side: what the user said, or what a network is meant for, or what the pictures are.

    Raises:
        ValueError: in one line: a listed network would get far larger pictures than it is made for.
    """
    if said.image_size is not None:
        if not 8 <= said.image_size <= LARGEST_SIZE:
            raise ValueError(f"--image-size {said.image_size}: use a number of pixels from 8 to {LARGEST_SIZE:,}")
        return said.image_size
    meant = {name: size for name in pair if is_reference(name) and (size := facts(name, 10, 3).image_size) is not None}
    sides = {min(size) for size in meant.values()}
    if len(sides) > 1:
        both = ", ".join(f"{name} for {min(size)}" for name, size in meant.items())
        raise ValueError(f"teacher and student are meant for pictures of different sizes ({both}): say one by --image-size")
    if sides:
        (side,) = sides
        missing = [role for role, name in _roles(said) if name is None]
        if missing and side > LARGEST_LISTED:
            raise ValueError(
                f"{next(iter(meant))} is meant for pictures of {side} pixels, and the default {missing[0]} is not: name one by --{missing[0]}, or give --image-size"
            )
        return side
    return SMALL if (usual_side(listing.root, listing.files) or SMALL) <= SMALL_UP_TO else LARGER


def _problems(listing: Listing, pictures: Decoded) -> tuple[list[Problem], list[str]]:
    """What can't be used; and files that neither are pictures nor promise by their names to be."""
    problems, others = list(listing.problems), []
    for file in listing.files:
        why = pictures.verdicts[file.path].problem
        if why is not None:
            suffix = Path(file.path).suffix.lower()
            if suffix and suffix not in suffixes():
                others.append(file.path)
            else:
                problems.append(Problem(file.path, why))
    return problems, others


def _notes(listing: Listing, others: Iterable[str], pictures: Decoded) -> list[str]:
    """What a user has to know of a folder's files, one line each."""
    where, left_out = shown(listing.root), [shown(path) for path in others]
    loose = [shown(path) for path in listing.loose if Path(path).suffix.lower() in suffixes()]
    strangers = [shown(path) for path in listing.strangers]
    notes = []
    if left_out:
        notes.append(f"{where}: {_files(len(left_out))} left out, which by name and content are no pictures: {first_few(left_out, NAMED)}")
    if loose:
        notes.append(f"{where}: {_files(len(loose))} left out, which lie in no class's folder: {first_few(loose, NAMED)}")
    if strangers:
        notes.append(f"{where}: left out what is next to the folders of the parts: {first_few(strangers, NAMED)}")
    odd = Counter(oddity for verdict in pictures.verdicts.values() for oddity in verdict.oddities)
    if odd:
        notes.append(f"{where}: of {_files(len(pictures.verdicts))} {', '.join(f'{count:,} have {oddity}' for oddity, count in sorted(odd.items()))}")
    return notes


def _files(count: int) -> str:
    return f"{count:,} files" if count != 1 else "1 file"


def _named(problems: Sequence[Problem], place: Path) -> str:
    """The first of what can't be used, and the file with all of it where it is more."""
    few = first_few(problems, NAMED)
    if len(problems) > NAMED:
        with contextlib.suppress(OSError):
            write_atomically(place, "".join(f"{problem}\n" for problem in problems))
            return f"{few} (all: {shown(place)})"
    return few


def _count_of(found: Survey) -> str:
    """How much can't be used: files, and classes without a picture, which are no files."""
    classes = len(found.division.problems)
    files = len(found.problems) - classes
    said = [f"{files:,} of {_files(found.files)}"] if files else []
    said += [f"{classes} {'classes' if classes > 1 else 'class'}"] if classes else []
    return f"{' and '.join(said)} can't be used"


def check(found: Survey) -> list[str]:
    """What a user has to know, one line each.

    Raises:
        ValueError: in one line: files that can't be used, where the user did not say to go on without them; or nothing is left to train on.
    """
    where, problems, division = shown(found.said.folder), found.problems, found.division
    both = where if found.said.unlabelled is None else f"{where} and {shown(found.said.unlabelled)}"
    count, named = _count_of(found), _named(problems, found.decoded.place.with_name(PROBLEMS))
    if problems and not found.said.skip_unreadable:
        raise ValueError(f"{both}: {count}: {named}; put them right or remove them, or go on without them by --skip-unreadable")
    skipped = [f"{both}: {count} and are left out: {named}"] if problems else []
    train, test = ([sample.label for sample in part] for part in (division.train, division.test))
    return [*skipped, *found.notes, *check_labels(train, test, division.classes, where, validation=division.validation)]
