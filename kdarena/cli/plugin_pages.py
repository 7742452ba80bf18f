"""``kdarena plugins``: listing, show, matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kdarena.cli.output import print_json, print_table
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
        print_table(
            ["name", "title", "paper", "defaults", "paper's tracks", "from", "status"],
            [
                [
                    row["name"],
                    row["title"],
                    f"{row['venue']} {row['year']}" if row["venue"] else None,
                    row["default_source"],
                    ", ".join(row["tracks"] or ()),
                    row["distribution"],
                    row["status"] + (f": {row['error']}" if row["error"] else ""),
                ]
                for row in rows
            ],
        )


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
    rows = []
    for parameter, tunable in known.items():
        tuned = "no" if not tunable.tune else "changes the cost: only when asked" if tunable.cost else "yes"
        rows.append([parameter, tunable.default, tunable.source, tunable.describe_range(), tunable.describe_bounds(), tuned, tunable.help])
    print_table(["parameter", "default", "source", "search range", "possible", "tuned", "what"], rows)
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
        print_table(["method", *TRACKS], [list(row.values()) for row in rows])


def _applies(method: Method, track: str) -> str:
    if track in method.tracks:
        return "own"
    if track in method.extended:
        return f"extended: {method.extended[track]}"
    return f"not applicable: {method.exclusion(track)}"
