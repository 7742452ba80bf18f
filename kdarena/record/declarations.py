"""What the methods of a record say of themselves, kept so that a board needs no plugin: importing all of them takes seconds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from kdarena.method.declaration import Method
from kdarena.params import sources
from kdarena.record import checked

FILE = "methods.json"


@dataclass(frozen=True)
class Declaration:
    """What a board says of a method beyond its runs.

    Attributes:
        paper: title, venue and year.
        default_source: where its defaults come from, as ``paper 2, ours 1``; None where it has no parameters.
        auxiliary, inherits: as in :class:`kdarena.method.declaration.Method`.
        source: digest of the code that a command last ran; empty where none did, or the method is part of the harness.
    """

    paper: str
    default_source: str | None = None
    auxiliary: bool = False
    inherits: bool = False
    source: str = ""

    @staticmethod
    def of(method: Method, source: str = "") -> Declaration:
        """What a method declares."""
        paper = f"{method.paper.title} ({method.paper.venue} {method.paper.year})"
        return Declaration(paper, sources(method.Params), method.auxiliary, method.inherits, source)


def read(directory: Path) -> dict[str, Declaration]:
    """The kept declarations by name of the method; empty where there are none that can be used."""
    return checked.read(dict[str, Declaration], directory / FILE) or {}


def merged(before: Mapping[str, Declaration], new: Mapping[str, Declaration]) -> dict[str, Declaration]:
    """New declarations over older ones of the same names; one without ``source`` leaves the older one's."""
    return {
        **before,
        **{name: declared if declared.source or name not in before else replace(declared, source=before[name].source) for name, declared in new.items()},
    }


def keep(directory: Path, declarations: Mapping[str, Declaration]) -> None:
    """Keep declarations, over older ones of the same names; raises ``OSError`` where they can't be written."""
    before = read(directory)
    after = merged(before, declarations)
    if after != before:
        checked.write(directory / FILE, {name: dataclasses.asdict(declared) for name, declared in sorted(after.items())})
