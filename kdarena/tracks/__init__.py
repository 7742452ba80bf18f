"""Tracks: kinds of tasks, each with its data, augmentation, task loss and evaluation."""

from __future__ import annotations

from kdarena.errors import UserError
from kdarena.tracks.card import TaskCard


def cards() -> tuple[TaskCard, ...]:
    """Every task that is listed, of all tracks; reads neither torch nor data."""
    from kdarena.tracks.classification import cards as listed

    return listed.cards()


def card(name: str) -> TaskCard:
    """The card of one task, also of pairs that are not listed, as ``cifar100:resnet56-resnet20``.

    Raises:
        UserError: no track knows the name.
    """
    from kdarena.tracks.classification import cards as listed

    try:
        return listed.card(name)
    except ValueError as error:
        raise UserError(f"{error} (see: kdarena tasks)") from None
