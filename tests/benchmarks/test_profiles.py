"""Cost profiles of all methods on digits against a careful re-measurement, by two processes at once as in a command.

``KDARENA_BUSY=1`` keeps a third process busy while the profiles are measured (and not while they are measured again).
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import step_costs, tools
from kdarena.engines.local import worker_environment
from kdarena.plan.cost import FEWEST_GROUPS, MOST_GROUPS

CAREFUL = 6 if tools.SHORT else 40
"""Groups of blocks of the re-measurement."""
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


def measured(teachers: Path, names: Sequence[str], groups: tuple[int, int], draw: int, busy: int = 0) -> dict[str, dict]:
    """What each method's profile says, by its name; every other method is measured by the same process.

    Args:
        draw: numbers the draws of progress.
        busy: number of processes that are busy meanwhile.
    """
    neighbours = processes(*[["busy"]] * busy)
    try:
        workers = processes(*([teachers, *groups, draw, *names[start::WORKERS]] for start in range(WORKERS)))
        lines = [line for worker in workers for line in worker.communicate()[0].splitlines()]
        assert [worker.returncode for worker in workers] == [0] * WORKERS
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.communicate()
    return {found["method"]: found for found in map(json.loads, lines)}


@pytest.mark.benchmark
@pytest.mark.timeout(1800)
def test_the_profiles_of_all_methods_are_what_a_careful_measurement_finds(tmp_path):
    entrants = step_costs.entrants()
    step_costs.make_teachers(tmp_path, entrants)
    names = [entrant.method.name for entrant in entrants if not tools.SHORT or entrant.method.name in FEW]
    profiles = measured(tmp_path, names, (FEWEST_GROUPS, MOST_GROUPS), 0, BUSY)
    careful = measured(tmp_path, names, (CAREFUL, CAREFUL), 1)
    print("\n| method | phase | profile | again | deviation % | errors % |\n|:---|:---|---:|---:|---:|---:|")
    deviations = []
    for name in names:
        for phase, again in zip(profiles[name]["phases"], careful[name]["phases"], strict=True):
            deviation = math.log(phase["cost"] / again["cost"])
            print(
                f"| {name} | {phase['phase']} | {phase['cost']:.3f} | {again['cost']:.3f} | {100 * deviation:+.1f} "
                f"| {100 * phase['error']:.1f}, {100 * again['error']:.1f} |"
            )
            if name != "student":
                deviations.append(deviation)
    mean, deviation = statistics.fmean(deviations), statistics.stdev(deviations)
    steps = [1e3 * found["student_s"] for found in profiles.values()]
    print(
        f"{len(deviations)} phases, {BUSY} busy neighbours: mean deviation {100 * mean:+.2f} %, standard deviation {100 * deviation:.2f} %; "
        f"the profiles took {sum(found['seconds'] for found in profiles.values()):.0f} s of device time; "
        f"a step of the student {min(steps):.2f} to {max(steps):.2f} ms"
    )
    assert abs(mean) < (0.1 if tools.SHORT else 0.01)
    assert deviation < (0.2 if tools.SHORT else 0.02)
