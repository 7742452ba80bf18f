"""Measures parts of cost profiles on digits in a process of its own, as a worker does: ``python -m benchmarks.step_costs TEACHERS PART GROUPS METHOD ...``.

Prints a line of JSON for each method: its name, and its profile. TEACHERS is a folder of checkpoints, PART the number of the part, GROUPS its groups of
blocks. ``busy`` in the place of all arguments keeps a core busy until it is killed.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import torch

from kdarena.execute.execute import seed_everything
from kdarena.execute.profile import profile
from kdarena.execute.workspace import Workspace, new_run
from kdarena.method.declaration import TeacherSpec
from kdarena.method.discovery import discover
from kdarena.method.plugin import STUDENT
from kdarena.plan.conditions import Conditions, conditions_of
from kdarena.plan.cost import CostProfile
from kdarena.plan.entrants import Entrant, entrants_of, teachers_of
from kdarena.plan.machine import find_machine
from kdarena.plan.profile_rule import RULES
from kdarena.plan.request import Request
from kdarena.plan.specs import profile_spec
from kdarena.seeds import derive
from kdarena.tracks import find_card
from kdarena.tracks.checkpoints import save
from kdarena.tracks.measure import Stopwatch
from kdarena.tracks.values import Setting

CARD = find_card("digits")


def entrants() -> list[Entrant]:
    """The methods that run on digits."""
    plugins = [plugin for plugin in discover() if plugin.error is None]
    return [entrant for entrant in entrants_of(plugins, CARD, Request()) if entrant.runs]


def conditions() -> Conditions:
    return conditions_of(Request(), CARD, find_machine("cpu", 1))


def make_teachers(folder: Path, found: Sequence[Entrant]) -> None:
    """Checkpoints of untrained teachers: costs do not depend on weights."""
    task = CARD.load(CARD, Setting())
    keys = {}
    for spec in teachers_of(found):
        network = task.new_network(CARD.architecture(spec.architecture), dropout=spec.dropout)
        unnamed = folder / "unnamed"
        key = save(network, unnamed)
        unnamed.rename(folder / f"{key}.safetensors")
        keys[json.dumps(dataclasses.asdict(spec), sort_keys=True)] = key
    (folder / "keys.json").write_text(json.dumps(keys))


def keys_in(folder: Path, found: Sequence[Entrant]) -> dict[TeacherSpec, str]:
    known = json.loads((folder / "keys.json").read_text())
    return {spec: known[json.dumps(dataclasses.asdict(spec), sort_keys=True)] for spec in teachers_of(found)}


def measure(folder: Path, part: int, groups: int, names: Sequence[str]) -> None:
    found = {entrant.method.name: entrant for entrant in entrants()}
    keys, given, workspace = keys_in(folder, list(found.values())), conditions(), Workspace(folder, folder)
    task = workspace.task(CARD.name, "fp32")
    for name in names:
        spec = replace(profile_spec(found[name], given, keys, timed=True), part=part)
        alone = replace(spec, method="student", params={}, teachers=())
        plugin = workspace.plugin(spec.method, spec.source)
        stopwatch = Stopwatch(task.device)
        stopwatch.start()
        seed_everything(spec.seed)
        phases, student_s = profile(
            lambda plugin=plugin, spec=spec: new_run(plugin, task, workspace, spec),
            lambda alone=alone: new_run(STUDENT, task, workspace, alone),
            timed=True,
            random=Random(derive(0, "progress", spec.key)),
            rule=replace(RULES["cpu"], enough_groups=groups, most_groups=groups),
        )
        measured = CostProfile(spec.key, tuple(phases), 1, student_s, stopwatch.stop(), 0.0, 0)
        print(json.dumps([spec.method, dataclasses.asdict(measured)]), flush=True)


def busy() -> None:
    square = torch.ones(512, 512)
    while True:
        square = square @ square / 512


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "busy":
        busy()
    where, number, count, *methods = sys.argv[1:]
    measure(Path(where), int(number), int(count), methods)
