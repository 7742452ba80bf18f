"""In which number format a task is trained, where the user leaves that to us: the faster, as it was measured on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from kdarena.arena.recorder import Recorder
from kdarena.arena.scheduler import Job, Work
from kdarena.method.plugin import STUDENT
from kdarena.plan.conditions import Conditions, conditions_of
from kdarena.plan.cost import CostProfile, ProfileSpec
from kdarena.plan.entrants import Entrant
from kdarena.plan.machine import Machine
from kdarena.plan.request import Request
from kdarena.plan.specs import profile_spec
from kdarena.tracks.card import TaskCard

FASTER = 1.2
"""How many times as many steps of the plain student bf16 has to take for a task to be trained in it: tasks differ by far more, from 0.55 to 1.95 on a CPU
with its instructions, and a measurement by less."""


def conditions_in_faster_precision(recorder: Recorder, request: Request, cards: Sequence[TaskCard], machine: Machine) -> list[Conditions]:
    """The conditions of a command's runs on its tasks; each task is measured once for an output directory, where the device has instructions for bf16.

    Raises:
        UserError: a task's data can't be read.
    """
    plain = [conditions_of(request, card, machine) for card in cards]
    if machine.precision(request.precision, request.protocol) is not None:
        return plain
    short = [replace(conditions, precision="bf16") for conditions in plain]
    seconds: dict[str, float] = {}

    def work(spec: ProfileSpec) -> Work:
        (result,) = yield [Job(spec, "profile")]
        if isinstance(result, CostProfile) and result.status == "done" and result.student_s is not None:
            seconds[spec.key] = result.student_s

    specs = [student_profile(conditions) for conditions in (*plain, *short)]
    recorder.display.expect(len(specs))
    recorder.schedule([work(spec) for spec in specs])
    return faster(plain, short, lambda conditions: seconds.get(student_profile(conditions).key))


def faster(plain: Sequence[Conditions], short: Sequence[Conditions], seconds: Callable[[Conditions], float | None]) -> list[Conditions]:
    """Of each task the conditions to train under, in fp32 or in bf16.

    Args:
        seconds: of a step of the plain student; None where it could not be measured, which leaves the task in fp32.
    """
    return [other if precision_of(seconds(one), seconds(other)) == "bf16" else one for one, other in zip(plain, short, strict=True)]


def precision_of(plain_s: float | None, short_s: float | None) -> Literal["fp32", "bf16"]:
    """The precision of a task whose plain student's step takes so many seconds in fp32 and in bf16."""
    return "bf16" if plain_s is not None and short_s is not None and plain_s / short_s >= FASTER else "fp32"


def student_profile(conditions: Conditions) -> ProfileSpec:
    """The first part of the plain student's cost profile, which is measured under the conditions that are chosen anyway."""
    return profile_spec(Entrant(STUDENT, {}, {}, ()), conditions, {}, timed=True)
