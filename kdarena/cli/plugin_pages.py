"""``kdarena plugins``: listing, show, cost, matrix."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdarena.cli.output import print_json, print_table
from kdarena.errors import UserError
from kdarena.method.declaration import Method
from kdarena.method.discovery import Plugin, discover, select
from kdarena.params import make_params, sources, tunables

if TYPE_CHECKING:
    from kdarena.method.declaration import TeacherSpec
    from kdarena.plan.entrants import Entrant
    from kdarena.plan.specs import Ground


def listing(as_json: bool, paths: Sequence[str]) -> None:
    """Every method, broken ones with the reason."""
    rows = [_row(one) for one in discover(paths)]
    if as_json:
        print_json(rows)
    else:
        print_table(
            ["name", "title", "paper", "defaults", "tracks", "from", "status"],
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


def _row(one: Plugin) -> dict[str, Any]:
    method = one.method
    return {
        "name": one.name,
        "title": method.title if method else None,
        "paper": method.paper.title if method else None,
        "venue": method.paper.venue if method else None,
        "year": method.paper.year if method else None,
        "url": method.paper.url if method else None,
        "default_source": sources(method.Params) if method else None,
        "tracks": list(method.tracks) if method else None,
        "distribution": one.distribution or None,
        "version": one.version or None,
        "status": one.status,
        "error": one.error,
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
    for one in discover(paths):
        if one.method is not None:
            rows.append({"method": one.name, **{track: _applies(one.method, track) for track in TRACKS}})
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


def cost(task: str, as_json: bool, paths: Sequence[str], device: str, precision: str, data_root: str | None) -> None:
    """Each method's step cost in student steps. Costs don't depend on weights, so the teachers are untrained ones."""
    from kdarena.arena.scheduler import Job, Work
    from kdarena.arena.scheduler import run as schedule
    from kdarena.engines.engine import Result
    from kdarena.engines.local import LocalEngine
    from kdarena.plan.entrants import entrants_of, teachers_of
    from kdarena.plan.machine import find_machine
    from kdarena.plan.request import Request
    from kdarena.plan.specs import Ground, profile_spec
    from kdarena.tracks import find_card

    card = find_card(task)
    missing = card.missing(data_root)
    if missing:
        raise UserError(f"task {task}: {missing}")
    machine = find_machine(device, 1)
    ground = Ground(card, machine, machine.precision(precision, card), card.digest(data_root), "validated")
    entrants = entrants_of(select(discover(paths), "all"), card, Request())
    runnable = [entrant for entrant in entrants if entrant.runs]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        keys = _untrained_teachers(teachers_of(runnable), ground, place / "teachers", data_root)
        engine = LocalEngine(
            devices=machine.devices,
            threads=machine.threads,
            teachers=place / "teachers",
            output=place / "students",
            log=place / "worker.log",
            data_root=data_root,
            plugin_paths=paths,
        )

        def work(entrant: Entrant) -> Work:
            results: list[Result] = yield [Job(profile_spec(entrant, ground, keys, timed=True), "profile")]
            rows.extend(_cost_rows(entrant.method.name, results[0]))
            print(f"{entrant.method.name} measured", file=sys.stderr)

        try:
            schedule(engine, [work(entrant) for entrant in runnable], recall=lambda spec: None, keep=lambda job, result: None)
        finally:
            engine.close()
    rows.extend(_unmeasured(entrant.method.name, entrant.skip or entrant.fault) for entrant in entrants if not entrant.runs)
    if as_json:
        print_json(rows)
    else:
        shown = [
            [
                row["method"],
                row["phase"],
                row["step_cost"] and f"{row['step_cost']:.2f}",
                row["error_percent"] and f"{row['error_percent']:.1f}",
                row["gflop"] and f"{row['gflop']:.4g}",
                row["fixed_steps"],
                row["note"],
            ]
            for row in rows
        ]
        print_table(["method", "phase", "student steps", "error %", "GFLOP a step", "fixed steps", "note"], shown)


def _unmeasured(name: str, note: str | None) -> dict[str, Any]:
    return {"method": name, "phase": None, "step_cost": None, "error_percent": None, "gflop": None, "fixed_steps": None, "note": note}


def _cost_rows(name: str, measured: Any) -> list[dict[str, Any]]:
    if measured.status != "done":
        return [_unmeasured(name, f"{measured.status}: {measured.error}")]
    return [
        {
            "method": name,
            "phase": phase.phase,
            "step_cost": phase.relative,
            "error_percent": 100 * phase.error if phase.error is not None else None,
            "gflop": phase.flops / 1e9,
            "fixed_steps": phase.steps,
            "note": None,
        }
        for phase in measured.phases
    ]


def _untrained_teachers(specs: Sequence[TeacherSpec], ground: Ground, folder: Path, data_root: str | None) -> dict[TeacherSpec, str]:
    from kdarena.tracks import load_task
    from kdarena.tracks.checkpoints import save
    from kdarena.tracks.values import Setting

    task = load_task(ground.card, Setting(data_root=data_root))
    folder.mkdir(parents=True)
    keys = {}
    for number, spec in enumerate(specs):
        named = ground.card.architecture(spec.architecture)
        keys[spec] = f"untrained{number}"
        save(task.new_network(named, dropout=spec.dropout), folder / f"{keys[spec]}.safetensors")
    return keys
