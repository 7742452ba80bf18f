"""Tracks: kinds of tasks, each with its data, augmentation, task loss and evaluation."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kdarena.errors import UserError
from kdarena.tracks.card import TaskCard
from kdarena.tracks.own import OwnTask
from kdarena.tracks.recipes import with_recipe, without_recipe

if TYPE_CHECKING:
    from kdarena.tracks.task import Task
    from kdarena.tracks.values import Setting

TRACKS = ("classification", "segmentation", "detection", "text", "speech")


def _listings() -> tuple[Any, ...]:
    """Each track's module of cards: ``DATA_SETS``, the words before the colon of its tasks' names, ``cards`` and ``card``."""
    return tuple(importlib.import_module(f"kdarena.tracks.{track}.cards") for track in TRACKS)


def cards(data_root: str | None = None) -> tuple[TaskCard, ...]:
    """Every task that is listed, of all tracks; reads neither torch nor data.

    Args:
        data_root: where auxiliary and outlier sets are looked for.
    """
    return tuple(card for listing in _listings() for card in listing.cards(data_root))


def find_card(name: str, data_root: str | None = None, own: Iterable[OwnTask] = ()) -> TaskCard:
    """The card of one task, also of pairs that are not listed, as ``cifar100:resnet56-resnet20``, and of other recipes, as ``digits@modern``.

    Args:
        own: tasks that the user brings, whose names go first.

    Raises:
        UserError: no track knows the name.
    """
    own = tuple(own)
    brought = next((card for card in (task.card() for task in own) if card.name == name), None)
    if brought is not None:
        return brought
    task, recipe = without_recipe(name)
    if recipe is not None:
        try:
            return with_recipe(find_card(task, data_root, own), recipe)
        except ValueError as error:
            raise UserError(str(error)) from None
    data_set = name.lower().replace("_", "-").partition(":")[0]
    listings = _listings()
    for listing in listings:
        if data_set in listing.DATA_SETS:
            try:
                card: TaskCard = listing.card(name, data_root)
            except ValueError as error:
                raise UserError(f"{error} (see: kdarena tasks)") from None
            return card
    known = ", ".join(known for listing in listings for known in listing.DATA_SETS)
    raise UserError(f"unknown task {name!r}; known: {known}, and DATA_SET:TEACHER-STUDENT for other pairs (see: kdarena tasks)")


def check_data(card: TaskCard, data_root: str | None) -> tuple[str, ...]:
    """Look at a task's data before anything is planned or trained; returns what a user has to know, one line each.

    Raises:
        UserError: data are missing, can't be read or are wrong, or leave nothing to train or to test on.
    """
    problem = card.missing(data_root)
    if problem:
        raise UserError(f"task {card.name}: {problem}")
    try:
        warnings = tuple(card.check(data_root))
    except (OSError, ValueError) as error:
        raise UserError(f"task {card.name}: {' '.join(str(error).split())}") from error
    if min(card.train, card.test) < 1 or card.validation < 0:
        raise UserError(f"task {card.name}: {card.train} samples to train on, {card.validation} for validation and {card.test} to test on: add samples")
    return warnings


def load_task(card: TaskCard, setting: Setting) -> Task:
    """Build a card's task: read its data and put them on the device.

    Raises:
        ValueError: in one line: data are missing or can't be read.
    """
    task: Task = card.load(card, setting)
    return task
