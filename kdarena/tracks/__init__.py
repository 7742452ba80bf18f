"""Tracks: kinds of tasks, each with its data, augmentation, task loss and evaluation."""

from __future__ import annotations

from kdarena.errors import UserError
from kdarena.tracks.card import TaskCard


def cards(data_root: str | None = None) -> tuple[TaskCard, ...]:
    """Every task that is listed, of all tracks; reads neither torch nor data.

    Args:
        data_root: where auxiliary and outlier sets are looked for.
    """
    from kdarena.tracks.classification import cards as listed

    return listed.cards(data_root)


def card(name: str, data_root: str | None = None) -> TaskCard:
    """The card of one task, also of pairs that are not listed, as ``cifar100:resnet56-resnet20``.

    Raises:
        UserError: no track knows the name.
    """
    from kdarena.tracks.classification import cards as listed

    try:
        return listed.card(name, data_root)
    except ValueError as error:
        raise UserError(f"{error} (see: kdarena tasks)") from None
