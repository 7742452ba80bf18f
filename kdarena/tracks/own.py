"""Tasks that the user brings: plain values that cross process borders, of which each process makes the card."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from kdarena.errors import UserError
from kdarena.files import write_atomically
from kdarena.tracks.card import TaskCard

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "images": "kdarena.tracks.classification.folder",
        "pair": "kdarena.tracks.classification.pairs",
        "text": "kdarena.tracks.text.files",
        "function": "kdarena.tracks.from_function",
        "logits": "kdarena.tracks.teacher_logits",
    }
)
"""The kinds of tasks that a user can bring, each with the module whose ``own_card(settings)`` makes the card of one."""

FILE = "own-tasks.json"
"""In an output directory: the tasks that its runs were made on, so that later commands know them too."""


@dataclass(frozen=True)
class OwnTask:
    """A task that the user brings.

    Attributes:
        kind: one of :data:`KINDS`.
        settings: what its card is made of, as JSON: paths are absolute.
    """

    kind: str
    settings: Mapping[str, Any]

    def card(self) -> TaskCard:
        """The card; raises ``UserError`` in one line where there is no such task."""
        try:
            card: TaskCard = importlib.import_module(KINDS[self.kind]).own_card(self.settings)
        except (OSError, ValueError) as error:
            raise UserError(" ".join(str(error).split())) from error
        return card

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {"kind": self.kind, "settings": dict(self.settings)}


def from_plain(values: Mapping[str, Any]) -> OwnTask:
    """What :meth:`OwnTask.plain` gave."""
    return OwnTask(values["kind"], values["settings"])


def keep(tasks: Iterable[OwnTask], out: Path) -> None:
    """Write tasks to an output directory, in addition to those that it knows.

    Raises:
        UserError: the directory's file can't be read.
        OSError: it can't be written.
    """
    known = [task.plain() for task in kept(out)]
    new = [plain for task in tasks if (plain := task.plain()) not in known]
    if new:
        write_atomically(out / FILE, json.dumps([*known, *new], indent=1, ensure_ascii=False) + "\n")


def kept(out: Path) -> tuple[OwnTask, ...]:
    """The tasks of an output directory; none where it has no such file.

    Raises:
        UserError: its file can't be read.
    """
    path = out / FILE
    if not path.is_file():
        return ()
    try:
        return tuple(from_plain(values) for values in json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: can't be read ({error}); remove it, and repeat the command that made its runs") from error
