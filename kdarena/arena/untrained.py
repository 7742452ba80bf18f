"""Cost profiles without a record: costs do not depend on weights, so the teachers are untrained ones."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdarena.arena.display import PlainDisplay
from kdarena.arena.parts import in_parts
from kdarena.arena.scheduler import Work
from kdarena.arena.scheduler import run as schedule
from kdarena.engines.local import LocalEngine
from kdarena.method.declaration import TeacherSpec
from kdarena.plan.conditions import Conditions
from kdarena.plan.cost import CostProfile, ProfileSpec
from kdarena.plan.entrants import Entrant, teachers_of
from kdarena.plan.profile_rule import rule_of
from kdarena.plan.request import Request
from kdarena.plan.specs import profile_spec, trained_as
from kdarena.tracks.card import TaskCard


def untrained_profiles(
    entrants: Sequence[Entrant],
    conditions: Conditions,
    request: Request,
    *,
    timed: bool,
    trainings: Sequence[TeacherSpec] = (),
    made_up: bool = False,
    measured: Callable[[str, CostProfile], None] = lambda name, profile: None,
    display: PlainDisplay | None = None,
) -> dict[str, CostProfile]:
    """The cost profile of each method, and of each teacher's training, by the name of the method or architecture; nothing is recorded.

    Args:
        trainings: teachers whose training is profiled, too.
        made_up: whether over made-up data.
        measured: called with each name and profile when it is there.
        display: shows what is under way; its jobs are those of the fewest parts.
    """
    profiles: dict[str, CostProfile] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        keys = _untrained_teachers(teachers_of(entrants), conditions.card, place / "teachers", request.data_root, made_up)
        specs = {entrant.method.name: profile_spec(entrant, conditions, keys, timed=timed) for entrant in entrants}
        specs |= _of_trainings(trainings, conditions, timed)
        engine = LocalEngine(
            devices=conditions.machine.devices,
            threads=conditions.machine.threads,
            teachers=place / "teachers",
            output=place / "students",
            log=place / "worker.log",
            data_root=request.data_root,
            own=request.own,
            plugin_paths=request.plugin_paths,
            made_up=made_up,
        )

        def work(name: str, spec: ProfileSpec) -> Work:
            (profiles[name],) = yield from in_parts([spec])
            measured(name, profiles[name])

        try:
            schedule(engine, [work(name, spec) for name, spec in specs.items()], recall=lambda spec: None, **_shown(display, specs.values()))
        finally:
            engine.close()
    return profiles


def _shown(display: PlainDisplay | None, specs: Collection[ProfileSpec]) -> dict[str, Any]:
    """What a display is called with by the scheduler."""
    if display is None:
        return {"keep": lambda job, result: None}
    display.expect(sum(rule_of(spec.device).fewest_parts if spec.timed else 1 for spec in specs))
    return {"keep": display.finished, "started": display.started, "progress": display.progress}


def _of_trainings(trainings: Sequence[TeacherSpec], conditions: Conditions, timed: bool) -> dict[str, ProfileSpec]:
    from kdarena.method.plugin import STUDENT

    student = profile_spec(Entrant(STUDENT, {}, {}, ()), conditions, {}, timed=timed)
    named = [replace(trained_as(teacher, conditions), member=0) for teacher in trainings]
    return {trains.architecture: replace(student, trains=trains) for trains in named}


def _untrained_teachers(specs: Sequence[TeacherSpec], card: TaskCard, folder: Path, data_root: str | None, made_up: bool) -> dict[TeacherSpec, str]:
    """Checkpoints of teachers as they are initialised; returns their digests, which name them."""
    from kdarena.tracks.checkpoints import save
    from kdarena.tracks.teacher_logits import unknown_logits
    from kdarena.tracks.values import Setting

    task = card.load(card, Setting(data_root=data_root, made_up=made_up))
    folder.mkdir(parents=True)
    keys = {}
    for spec in specs:
        unnamed = folder / "unnamed"
        known = card.teacher_logits is not None and card.architecture(spec.architecture) == card.teacher
        network = unknown_logits(task) if known else task.new_network(card.architecture(spec.architecture), dropout=spec.dropout)
        keys[spec] = save(network, unnamed)
        unnamed.rename(folder / f"{keys[spec]}.safetensors")
    return keys
