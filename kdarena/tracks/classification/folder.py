"""A folder of pictures as a task: ``kdarena run --images FOLDER``. Torch is imported for networks by reference alone."""

from __future__ import annotations

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kdarena.tracks.card import TaskCard
from kdarena.tracks.classification.cards import CIFAR_RECIPE, METRIC_GROUPS, SMALL_LR, SMALL_LR_RECIPE, TRACK
from kdarena.tracks.classification.data import DataSet
from kdarena.tracks.classification.listing import Listing, Problem, first_few, listed, listed_without_classes, shown
from kdarena.tracks.classification.models import facts
from kdarena.tracks.classification.models.references import Facts, is_reference, label, with_taps
from kdarena.tracks.classification.pairs import CLIP, networks_digest, offers_of_networks
from kdarena.tracks.classification.pictures import suffixes
from kdarena.tracks.classification.selected import Selected, in_memory
from kdarena.tracks.classification.split import Division, Sample, divided
from kdarena.tracks.classification.store import VERSION, Decoded, decoded, usual_side
from kdarena.tracks.recipe import Recipe, recipe_of_pair
from kdarena.tracks.rows import check_labels

if TYPE_CHECKING:
    from kdarena.tracks.classification.folder_task import FolderTask
    from kdarena.tracks.values import Setting

PAIR = ("resnet32x4", "resnet8x4")
"""The networks where none are named."""
SMALL, LARGER = 32, 64
"""Pixels of a side for pictures of up to 48 pixels and for larger ones, where neither the user nor a network says another size."""
SMALL_UP_TO = 48
CROPPED_FROM = 64
"""Pixels of a side from which training pictures are random crops that are resized; smaller ones are shifted."""
LARGEST_SIZE = 1_024
LARGEST_LISTED = 64
"""Pixels of a side up to which a listed network is taken for the one that is not named."""
ROBUST_UP_TO = 64
"""Pixels of a side up to which robustness is measured, which takes all test pictures in memory as floating point."""
NAMED = 3
"""Files that a line names."""
MEASURED = 1_000
"""Training pictures from which mean and standard deviation are taken."""
AUXILIARY = "unlabelled"
"""Name of the auxiliary set."""


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


def own_card(settings: Mapping[str, Any]) -> TaskCard:
    """The card of a folder of pictures; the folder is looked through each time, and what has changed is read.

    Args:
        settings: ``images`` (the folder), ``unlabelled``, and the other fields of :class:`FolderSettings`.

    Raises:
        ValueError: in one line: there is no such folder, it has no classes, or a network can't be used.
        OSError: the cache can't be written.
    """
    known = {name: value for name, value in settings.items() if name in FolderSettings.__dataclass_fields__}
    said = FolderSettings(folder=settings["images"], **known)
    found = _survey(said, *_listings(said))
    division = found.division
    return TaskCard(
        name=f"images:{_name(said.folder)}:{label(found.teacher)}-{label(found.student)}",
        track=TRACK,
        data_set=f"images:{_name(said.folder)}",
        teacher=found.teacher,
        student=found.student,
        classes=len(division.classes),
        train=len(division.train) - division.validation,
        validation=division.validation,
        test=len(division.test),
        metric="top1",
        recipe=_recipe(found),
        missing=lambda data_root: None,
        digest=lambda data_root: _digest(_survey(said, *_listings(said))),
        check=lambda data_root: _check(_survey(said, *_listings(said))),
        load=functools.partial(_load, said),
        pixels=True,
        auxiliary=AUXILIARY if found.unlabelled else None,
        metric_groups=METRIC_GROUPS if found.size <= ROBUST_UP_TO else tuple(group for group in METRIC_GROUPS if group != "robustness"),
        **offers_of_networks(found.of_teacher, found.of_student),
    )


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
    problems, others = _problems(listing, pictures)
    notes = [*_notes(listing, others, pictures), *division.notes]
    if further is not None and unlabelled is not None:
        further_problems, further_others = _problems(further, unlabelled[0])
        problems += further_problems
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
    teacher, student = (with_taps(name or PAIR[place], said.taps, role) for place, (role, name) in enumerate(_named(said)))
    return teacher, student


def _named(said: FolderSettings) -> tuple[tuple[Literal["teacher", "student"], str | None], ...]:
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
        missing = [role for role, name in _named(said) if name is None]
        if missing and side > LARGEST_LISTED:
            raise ValueError(f"{next(iter(meant))} is meant for pictures of {side} pixels, and the default {missing[0]} is not: name one by --{missing[0]}")
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


def _check(found: Survey) -> list[str]:
    """What a user has to know, one line each.

    Raises:
        ValueError: in one line: files that can't be used, where the user did not say to go on without them; or nothing is left to train on.
    """
    where, problems, division = shown(found.said.folder), found.problems, found.division
    count, named = f"{len(problems):,} of {_files(found.files)} can't be used", first_few(problems, NAMED)
    if problems and not found.said.skip_unreadable:
        raise ValueError(f"{where}: {count}: {named}; put them right or remove them, or go on without them by --skip-unreadable")
    skipped = [f"{where}: {count} and are left out: {named}"] if problems else []
    train, test = ([sample.label for sample in part] for part in (division.train, division.test))
    return [*skipped, *found.notes, *check_labels(train, test, division.classes, where, validation=division.validation)]


def _digest(found: Survey) -> str:
    """Of all that can change a number: classes, contents of the files in their parts, and how they become inputs."""
    division = found.division
    parts = [[[sample.label, sample.digest] for sample in part] for part in (division.train, division.test)]
    settings = [VERSION, found.size, division.classes, division.validation, division.fixed_validation, found.said.class_weights, _statistics(found)]
    unlabelled = found.unlabelled[1] if found.unlabelled else None
    networks = networks_digest(found.teacher, found.student)
    return hashlib.sha256(json.dumps([settings, parts, unlabelled, networks]).encode()).hexdigest()[:16]


def _recipe(found: Survey) -> Recipe:
    """The public benchmark's; with a gentle start for networks by reference, and smaller batches of few pictures."""
    small = {name: is_reference(name) or name in SMALL_LR for name in (found.student, found.teacher)}
    recipe = recipe_of_pair(*(SMALL_LR_RECIPE if small[name] else CIFAR_RECIPE for name in (found.student, found.teacher)))
    trained_on = len(found.division.train) - found.division.validation
    batch = next((size for size in (64, 32, 16) if trained_on >= 8 * size), 8)
    return replace(recipe, batch_size=batch, clip=CLIP if any(small.values()) else None)


def _statistics(found: Survey) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and standard deviation of the channels by which a network's pretrained weights expect them, the teacher's first; None: the pictures' own."""
    for known in (found.of_teacher, found.of_student):
        if known.mean is not None and known.std is not None and len(known.mean) == 3:
            return known.mean, known.std
    return None


def _load(said: FolderSettings, card: TaskCard, setting: Setting) -> FolderTask:
    from kdarena.tracks.classification.folder_task import FolderTask, most_in_memory

    found = _survey(said, *_listings(said))
    unlabelled = _images(*found.unlabelled) if found.unlabelled else None
    return FolderTask(
        card,
        setting,
        data_set(found, most_in_memory(setting.device)),
        class_names=found.division.classes,
        fixed_validation=found.division.fixed_validation,
        overlap=found.division.overlap,
        unlabelled=unlabelled,
        weighed=said.class_weights == "balanced",
        left_out=len(found.problems),
    )


def data_set(found: Survey, most: int = 0) -> DataSet:
    """The pictures of a folder, on disk where they have more than so many bytes."""
    division = found.division
    train, test = (_images(found.decoded, [sample.digest for sample in part]) for part in (division.train, division.test))
    mean, std = _statistics(found) or _measured(train)
    return DataSet(
        name=f"images:{_name(found.said.folder)}",
        train_images=in_memory(train, most),
        train_labels=_labels(division.train),
        test_images=in_memory(test, most),
        test_labels=_labels(division.test),
        mean=mean,
        std=std,
        peak=255.0,
        padding=0 if found.size >= CROPPED_FROM else found.size // 8,
        flip=True,
        digest=_digest(found),
    )


def _images(pictures: Decoded, digests: Iterable[str]) -> Selected:
    return Selected(pictures.pixels(), np.array([pictures.rows[digest] for digest in digests], dtype=np.int64))


def _labels(samples: Iterable[Sample]) -> np.ndarray:
    return np.array([sample.label for sample in samples], dtype=np.int64)


def _measured(images: Selected) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the channels of pictures spread over the training part, in units of the largest value."""
    count = min(MEASURED, len(images))
    pixels = images[np.arange(count) * len(images) // count].reshape(-1, 3)
    mean, std = (pixels.mean(axis=0, dtype=np.float64) / 255, np.maximum(pixels.std(axis=0, dtype=np.float64) / 255, 0.01))
    return tuple(round(float(value), 4) for value in mean), tuple(round(float(value), 4) for value in std)


def _name(folder: str) -> str:
    """A folder's name in the name of a task: letters and digits of any script, dots and hyphens."""
    kept = "".join(character if character.isalnum() or character == "." else "-" for character in shown(Path(folder).name).lower())
    return "-".join(filter(None, kept.split("-"))) or "pictures"
