"""Labels of a fine-tuned classifier's head, by name, in the order of a task's classes. Imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_UNNAMED = re.compile(r"label[_ ]?(\d+)")


def names_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the classes of a head, in its order; made up ones as the library makes them where there are none."""
    found = config.get("id2label")
    if isinstance(found, Mapping) and found:
        return tuple(str(name) for _, name in sorted(found.items(), key=lambda item: int(item[0])))
    return tuple(f"LABEL_{number}" for number in range(int(config.get("num_labels", 2))))


def order_of(folder: str, config: Mapping[str, Any], labels: Sequence[str]) -> tuple[int, ...]:
    """For each class of a task the row of the head that is of the same name.

    Names are the same whatever their capitals, spaces, hyphens and underscores; ``LABEL_3`` is the name ``3``.

    Raises:
        ValueError: in one line with both lists: one of them has a name that the other lacks.
    """
    names = names_of(config)
    place = {_plain(name): number for number, name in enumerate(names)}
    wanted = [_plain(label) for label in labels]
    if sorted(place) != sorted(wanted):
        raise ValueError(
            f"{folder}: its classifier's labels are {_list(names)}, the data's are {_list(labels)}: rename either (id2label in config.json), or give the encoder without a classifier"
        )
    return tuple(place[name] for name in wanted)


def _plain(name: str) -> str:
    plain = re.sub(r"[\s_\-]+", " ", name.strip().lower())
    unnamed = _UNNAMED.fullmatch(plain)
    return unnamed[1] if unnamed else plain


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:20])
    return shown if len(names) <= 20 else f"{shown} and {len(names) - 20} more"
