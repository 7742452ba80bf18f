"""What building a run takes that trains nothing but the task's student: every method has that, and none pays for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from kdarena.execute.train import begin_phase
from kdarena.execute.workspace import Workspace, new_run
from kdarena.method.plugin import STUDENT
from kdarena.plan.spec import RunSpec
from kdarena.tracks.task import Task


def plain_build(spec: RunSpec, task: Task, workspace: Workspace) -> Mapping[str, float]:
    """Device seconds by hook that building the plain student takes.

    Measured once for each task of a worker, at the second time, since the first one finds nothing in the caches.
    """
    key = (spec.task, spec.precision)
    if key not in workspace.plain_builds:
        plain = replace(spec, method=STUDENT.name, params={}, teachers=(), trains=None)
        for _ in range(2):
            hooks, run = new_run(STUDENT, task, workspace, plain)
            for phase in hooks.build(run):
                begin_phase(hooks, run, phase, {}, run.batches("augmented"))
            workspace.plain_builds[key] = hooks.clock.outside()
    return workspace.plain_builds[key]
