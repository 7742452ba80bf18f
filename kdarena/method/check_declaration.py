"""Whether a declaration says what it can say: kinds of values, known tracks and needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import get_args

from kdarena.method.declaration import Method, Paper
from kdarena.tracks import TRACKS
from kdarena.tracks.card import Offer

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST = 60
"""Letters of a method's name, which is part of names of files and columns."""


def is_name(name: object) -> bool:
    """Whether a method can have the name."""
    return isinstance(name, str) and NAME.fullmatch(name) is not None and len(name) <= LONGEST


def check_declaration(method: Method) -> None:
    """Raise ``ValueError`` in one line with the first field that can't be used."""
    if not isinstance(method.title, str) or not isinstance(method.paper, Paper):
        raise ValueError("Method.title has to be text, and Method.paper a kdarena.Paper(title, venue, year, url)")
    for field, known in (("tracks", TRACKS), ("requires", get_args(Offer))):
        given = getattr(method, field)
        if not isinstance(given, (tuple, list)):
            raise ValueError(f"Method.{field} has to be a tuple, as ({known[0]!r},), not {type(given).__name__}")
        _check_known(field, given, known)
    for field in ("extended", "excluded"):
        given = getattr(method, field)
        if not isinstance(given, Mapping):
            raise ValueError(f"Method.{field} has to be a dict from track to text, not {type(given).__name__}")
        _check_known(field, given, TRACKS)
    for field in ("teachers", "applies"):
        if not callable(getattr(method, field)):
            raise ValueError(f"Method.{field} has to be a function of (card, params), as kdarena.no_teachers is, not {type(getattr(method, field)).__name__}")


def _check_known(field: str, given: object, known: tuple[str, ...]) -> None:
    for one in given:  # type: ignore[attr-defined]
        if one not in known:
            what = "need" if field == "requires" else "track"
            raise ValueError(f"Method.{field} names the unknown {what} {one!r:.80}; known: {', '.join(known)}")
