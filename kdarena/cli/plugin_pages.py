"""``kdarena plugins``: listing, show, matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kdarena.board.screen import Column, clean, screen_width, wrapped
from kdarena.cli.output import paragraph, print_json, print_table, texts
from kdarena.method.declaration import Method
from kdarena.method.discovery import discover, select
from kdarena.method.plugin import Plugin
from kdarena.params import make_params, sources, tunables


def listing(as_json: bool, paths: Sequence[str]) -> None:
    """Every method, broken ones with the reason."""
    rows = [_row(plugin) for plugin in discover(paths)]
    if as_json:
        print_json(rows)
    else:
        print_table(_columns(rows))


def _columns(rows: Sequence[dict[str, Any]]) -> list[Column]:
    broken = any(row["error"] for row in rows)
    return [
        Column("name", texts(row["name"] for row in rows)),
        Column("status", [row["status"] + (f": {clean(row['error'])}" if row["error"] else "") for row in rows], order=1 if broken else 6, least=16),
        Column("title", texts(row["title"] for row in rows), order=2, least=36),
        Column("paper", texts(row["venue"] and f"{row['venue']} {row['year']}" for row in rows), order=3),
        Column("paper's tracks", texts(", ".join(row["tracks"] or ()) for row in rows), order=4, least=14),
        Column("defaults", texts(row["default_source"] for row in rows), order=5),
        Column("from", texts(row["distribution"] for row in rows), order=7),
    ]


def _row(plugin: Plugin) -> dict[str, Any]:
    method = plugin.method
    return {
        "name": plugin.name,
        "title": method.title if method else None,
        "paper": method.paper.title if method else None,
        "venue": method.paper.venue if method else None,
        "year": method.paper.year if method else None,
        "url": method.paper.url if method else None,
        "default_source": sources(method.Params) if method else None,
        "tracks": list(method.tracks) if method else None,
        "distribution": plugin.distribution or None,
        "version": plugin.version or None,
        "status": plugin.status,
        "error": plugin.error,
    }


def show(name: str, paths: Sequence[str]) -> None:
    """One method, for its reader."""
    plugin = select(discover(paths), name)[0]
    method = plugin.method
    assert method is not None
    print(f"{method.name}: {method.title}")
    print(f"paper: {method.paper.title}, {method.paper.venue} {method.paper.year}, {method.paper.url}")
    print(f"tracks: {', '.join(method.tracks)}")
    for track, mapping in method.extended.items():
        print(f"extended to {track}: {mapping}")
    print(f"requires: {', '.join(method.requires) or 'nothing of a task'}")
    print(f"labels: {'used in training' if method.labels else 'never seen in training'}")
    print(f"teachers: {_teachers(method)}")
    print(f"\n{plugin.equations}\n")
    known = tunables(method.Params)
    if not known:
        print("no parameters of its own; lr and weight_decay as every method")
        return
    of = list(known.values())
    tuned = ["no" if not one.tune else "changes the cost: only when asked" if one.cost else "yes" for one in of]
    print_table(
        [
            Column("parameter", texts(known)),
            Column("default", texts(one.default for one in of)),
            Column("source", texts(one.source for one in of), order=1),
            Column("search range", texts(one.describe_range() for one in of), order=2),
            Column("possible", texts(one.describe_bounds() for one in of), order=4),
            Column("tuned", tuned, order=5, least=12),
            Column("what", texts(one.help for one in of), order=3, least=16),
        ]
    )
    print("in addition: lr and weight_decay, as every method")


def _teachers(method: Method) -> str:
    from kdarena.method.declaration import REFERENCE
    from kdarena.tracks import cards

    own = [card for card in cards() if card.track in method.tracks] or list(cards())
    try:
        teachers = tuple(method.teachers(own[0], make_params(method.Params, {})))
    except Exception as error:
        return f"unknown ({type(error).__name__}: {error})"
    if not teachers:
        return "none"
    if teachers == (REFERENCE,):
        return "the task's reference teacher"
    return f"{len(teachers)} of the task's pool ({', '.join(dict.fromkeys(teacher.architecture for teacher in teachers))} networks)"


LEGEND = (
    "own: its paper's track;",
    "extended: its equations hold there too;",
    "no: they don't (not applicable).",
    "With --json the reasons are given.",
)
"""Of the table of methods and tracks."""


def matrix(as_json: bool, paths: Sequence[str]) -> None:
    """Method by track; of the tracks that have a task."""
    from kdarena.tracks import TRACKS

    rows: list[dict[str, Any]] = []
    for plugin in discover(paths):
        if plugin.method is not None:
            rows.append({"method": plugin.name, **{track: _applies(plugin.method, track) for track in TRACKS}})
    if as_json:
        print_json(rows)
    else:
        print_table(_matrix_columns(rows, TRACKS))
        for line in LEGEND:
            print(paragraph(line))


def _matrix_columns(rows: Sequence[dict[str, Any]], tracks: Sequence[str]) -> list[Column]:
    """With the reasons where there is room for them, else in one word."""
    method = Column("method", texts(row["method"] for row in rows))
    whole = [Column(track, texts(row[track] for row in rows), least=24) for track in tracks]
    if method.width + sum(2 + column.least_width for column in whole) <= screen_width():
        return [method, *whole]
    kinds = {track: [row[track].partition(":")[0] for row in rows] for track in tracks}

    def in_words(letters: int, words: dict[str, str]) -> list[Column]:
        # a long name of a track goes on in a second line, so that all tracks fit
        return [method, *(Column("-\n".join(wrapped(track, letters)), [words.get(kind, kind) for kind in kinds[track]]) for track in tracks)]

    columns = in_words(9, {"not applicable": "no"})
    narrow = sum(column.least_width for column in columns) + 2 * len(tracks) > screen_width()
    return in_words(6, {"not applicable": "no", "extended": "yes"}) if narrow else columns


def _applies(method: Method, track: str) -> str:
    if track in method.tracks:
        return "own"
    if track in method.extended:
        return f"extended: {method.extended[track]}"
    return f"not applicable: {method.exclusion(track)}"
