"""Cost profiles of all methods on digits against a careful re-measurement, by two processes at once as in a command.

``KDARENA_BUSY=1`` keeps a third process busy while the profiles are measured (and not while they are measured again).
"""

from __future__ import annotations

import json
import math
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import step_costs, tools
from kdarena.engines.local import worker_environment
from kdarena.plan.cost import CostProfile
from kdarena.plan.profile_parts import combined, needs_another
from kdarena.plan.profile_rule import FEWEST_GROUPS, RULES

CAREFUL_PARTS, CAREFUL_GROUPS = (1, 4) if tools.SHORT else (10, 5)
"""Of the measurement again."""
FIRST = 100
"""Number of the first part of the measurement again."""
BUSY = int(os.environ.get("KDARENA_BUSY", "0"))
"""Further processes while the profiles are measured."""
WORKERS = 2
FOLDER = Path(__file__).parents[1]
FEW = ("crd", "kd", "quest")
"""Methods of the short form."""


def processes(*commands: Sequence[object]) -> list[subprocess.Popen[str]]:
    environment = {**worker_environment(os.environ, 1), "PYTHONPATH": str(FOLDER)}
    arguments = ([sys.executable, "-m", "benchmarks.step_costs", *map(str, command)] for command in commands)
    return [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=FOLDER.parent) for command in arguments]


def part(teachers: Path, names: Sequence[str], number: int, groups: int) -> dict[str, CostProfile]:
    """A part of each method's profile, by its name; every other method is measured by the same process."""
    workers = processes(*([teachers, number, groups, *names[start::WORKERS]] for start in range(WORKERS)))
    lines = [line for worker in workers for line in worker.communicate()[0].splitlines()]
    assert [worker.returncode for worker in workers] == [0] * WORKERS
    return {name: CostProfile.from_json(values) for name, values in map(json.loads, lines)}


def profiled(teachers: Path, names: Sequence[str], busy: int) -> dict[str, list[CostProfile]]:
    """The parts of each method's profile, as a command measures them.

    Args:
        busy: number of processes that are busy meanwhile.
    """
    neighbours = processes(*[["busy"]] * busy)
    parts: dict[str, list[CostProfile]] = {name: [] for name in names}
    due, rule = list(names), RULES["cpu"]
    try:
        while due:
            due.reverse()
            for name, measured in part(teachers, due, len(parts[due[0]]), FEWEST_GROUPS).items():
                parts[name].append(measured)
            due = [name for name in due if needs_another(parts[name], rule, timed=True) and (len(parts[name]) < rule.fewest_parts or not tools.SHORT)]
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.communicate()
    return parts


def measured_again(teachers: Path, names: Sequence[str]) -> dict[str, list[CostProfile]]:
    """Each method measured in many long parts, each time in another order."""
    order, drawn = list(names), random.Random(0)
    parts: dict[str, list[CostProfile]] = {name: [] for name in names}
    for number in range(CAREFUL_PARTS):
        drawn.shuffle(order)
        for name, measured in part(teachers, order, FIRST + number, CAREFUL_GROUPS).items():
            parts[name].append(measured)
    return parts


@pytest.mark.benchmark
@pytest.mark.timeout(2400)
def test_the_profiles_of_all_methods_are_what_a_careful_measurement_finds(tmp_path):
    entrants = step_costs.entrants()
    step_costs.make_teachers(tmp_path, entrants)
    names = [entrant.method.name for entrant in entrants if not tools.SHORT or entrant.method.name in FEW]
    parts, again = profiled(tmp_path, names, BUSY), measured_again(tmp_path, names)
    print("\n| method | phase | profile | parts | again | deviation % | errors % |\n|:---|:---|---:|---:|---:|---:|---:|")
    deviations = []
    for name in names:
        for phase, careful in zip(combined(parts[name]).phases, combined(again[name]).phases, strict=True):
            deviation = math.log(phase.relative / careful.relative)
            print(
                f"| {name} | {phase.phase} | {phase.relative:.3f} | {len(parts[name])} | {careful.relative:.3f} | {100 * deviation:+.1f} "
                f"| {100 * phase.error:.1f}, {100 * careful.error:.1f} |"
            )
            if name != "student":
                deviations.append(deviation)
    mean, deviation = statistics.fmean(deviations), statistics.stdev(deviations)
    steps = [1e3 * profile.student_s for found in parts.values() for profile in found]
    print(
        f"{len(deviations)} phases, {BUSY} busy neighbours: mean deviation {100 * mean:+.2f} %, standard deviation {100 * deviation:.2f} %; "
        f"the profiles took {sum(profile.seconds for found in parts.values() for profile in found):.0f} s of device time; "
        f"a step of the student {min(steps):.2f} to {max(steps):.2f} ms"
    )
    assert abs(mean) < (0.1 if tools.SHORT else 0.01)
    assert deviation < (0.2 if tools.SHORT else 0.02)
