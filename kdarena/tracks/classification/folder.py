"""A folder of pictures as a task: ``kdarena run --images FOLDER``. Torch is imported for networks by reference alone."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kdarena.tracks.card import SampleIds, TaskCard
from kdarena.tracks.classification.cards import CIFAR_RECIPE, METRIC_GROUPS, SMALL_LR, SMALL_LR_RECIPE, TRACK
from kdarena.tracks.classification.data import DataSet
from kdarena.tracks.classification.listing import shown
from kdarena.tracks.classification.models.references import is_reference, label
from kdarena.tracks.classification.pairs import networks_digest, offers_of_networks, recipe_of_networks
from kdarena.tracks.classification.selected import Selected, in_memory
from kdarena.tracks.classification.split import Sample
from kdarena.tracks.classification.store import VERSION, Decoded
from kdarena.tracks.classification.survey import FolderSettings, Survey, check, surveyed
from kdarena.tracks.recipe import Recipe, recipe_of_pair

if TYPE_CHECKING:
    from kdarena.tracks.classification.folder_task import FolderTask
    from kdarena.tracks.values import Setting

CROPPED_FROM = 64
"""Pixels of a side from which training pictures are random crops that are resized; smaller ones are shifted."""
ROBUST_UP_TO = 64
"""Pixels of a side up to which robustness is measured, which takes all test pictures in memory as floating point."""
MEASURED = 1_000
"""Training pictures from which mean and standard deviation are taken."""
SMALLEST_MEASURED = 64
"""Pixels of a side of which no fewer are taken for that."""
AUXILIARY = "unlabelled"
"""Name of the auxiliary set."""


def own_card(settings: Mapping[str, Any]) -> TaskCard:
    """The card of a folder of pictures; the folder is looked through each time, and what has changed is read.

    Args:
        settings: ``images`` (the folder), ``unlabelled``, and the other fields of :class:`FolderSettings`.

    Raises:
        ValueError: in one line: there is no such folder, it has no classes, a network can't be used, or the cache can't be written.
    """
    known = {name: value for name, value in settings.items() if name in FolderSettings.__dataclass_fields__}
    said = FolderSettings(folder=settings["images"], **known)
    found = surveyed(said)
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
        digest=lambda data_root: _digest(surveyed(said)),
        check=lambda data_root: check(surveyed(said)),
        load=functools.partial(_load, said),
        sample_ids=lambda data_root: _paths(surveyed(said)),
        pixels=True,
        auxiliary=AUXILIARY if found.unlabelled else None,
        metric_groups=METRIC_GROUPS if found.size <= ROBUST_UP_TO else tuple(group for group in METRIC_GROUPS if group != "robustness"),
        **offers_of_networks(found.of_teacher, found.of_student),
    )


def _paths(found: Survey) -> SampleIds:
    """The paths of each picture below the folder, with slashes: of the train half and of the test half."""
    number = {name: place for place, name in enumerate(found.division.classes)}
    paths: dict[Sample, list[str]] = {}
    for file in found.listing.files:
        verdict = found.decoded.verdicts[file.path]
        if verdict.problem is None:
            paths.setdefault(Sample(number[file.label], verdict.digest), []).append(file.path)
    train, test = ([tuple(paths[sample]) for sample in part] for part in (found.division.train, found.division.test))
    return train, test


def _digest(found: Survey) -> str:
    """Of all that can change a number: classes, contents of the files in their parts, and how they become inputs."""
    division = found.division
    parts = [[[sample.label, sample.digest] for sample in part] for part in (division.train, division.test)]
    settings = [VERSION, found.size, division.classes, division.validation, division.fixed_validation, found.said.class_weights, _statistics(found)]
    unlabelled = found.unlabelled[1] if found.unlabelled else None
    named = [name for name in (found.teacher, found.student) if is_reference(name)]
    networks = networks_digest(*named) if named else ""  # which imports torch
    return hashlib.sha256(json.dumps([settings, parts, unlabelled, networks]).encode()).hexdigest()[:16]


def _recipe(found: Survey) -> Recipe:
    """The public benchmark's for listed networks, what suits pairs with a network by reference for others; with smaller batches of few pictures."""
    pair = (found.student, found.teacher)
    recipe = recipe_of_pair(*(SMALL_LR_RECIPE if is_reference(name) or name in SMALL_LR else CIFAR_RECIPE for name in pair))
    if any(map(is_reference, pair)):
        recipe = recipe_of_networks(recipe, found.of_teacher, found.of_student)
    trained_on = len(found.division.train) - found.division.validation
    batch = next((size for size in (64, 32, 16) if trained_on >= 8 * size), 8)
    return replace(recipe, batch_size=batch)


def _statistics(found: Survey) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and standard deviation of the channels by which a network's pretrained weights expect them, the teacher's first; None: the pictures' own."""
    for known in (found.of_teacher, found.of_student):
        if known.mean is not None and known.std is not None and len(known.mean) == 3:
            return known.mean, known.std
    return None


def _load(said: FolderSettings, card: TaskCard, setting: Setting) -> FolderTask:
    from kdarena.tracks.classification.folder_task import FolderTask, most_in_memory

    found = surveyed(said)
    unlabelled = _images(*found.unlabelled) if found.unlabelled else None
    return FolderTask(
        card,
        setting,
        data_set(found, most_in_memory(setting.device)),
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
        labels=division.classes,
    )


def _images(pictures: Decoded, digests: Iterable[str]) -> Selected:
    return Selected(pictures.pixels(), np.array([pictures.rows[digest] for digest in digests], dtype=np.int64))


def _labels(samples: Iterable[Sample]) -> np.ndarray:
    return np.array([sample.label for sample in samples], dtype=np.int64)


def _measured(images: Selected) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the channels of pictures spread over the training part, in units of the largest value."""
    count, stride = min(MEASURED, len(images)), max(1, images.shape[1] // SMALLEST_MEASURED)
    pixels = images[np.arange(count) * len(images) // max(1, count)][:, ::stride, ::stride].reshape(-1, 3)
    mean, std = (pixels.mean(axis=0, dtype=np.float64) / 255, np.maximum(pixels.std(axis=0, dtype=np.float64) / 255, 0.01))
    return tuple(round(float(value), 4) for value in mean), tuple(round(float(value), 4) for value in std)


def _name(folder: str) -> str:
    """A folder's name in the name of a task: letters and digits of any script, dots and hyphens."""
    kept = "".join(character if character.isalnum() or character == "." else "-" for character in shown(Path(folder).name).lower())
    return "-".join(filter(None, kept.split("-"))) or "pictures"
