"""What a step costs, as values: what is to be measured (:class:`ProfileSpec`) and what was (:class:`CostProfile`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kdarena.method.declaration import TeacherSpec
from kdarena.params import Value
from kdarena.plan.plain import from_plain
from kdarena.plan.spec import Parts, Unit, digest
from kdarena.seeds import derive

SEEDS = 5
"""A profile has the seed of one of so many final runs."""


@dataclass(frozen=True)
class ProfileSpec:
    """What decides a cost profile: everything that changes the cost of a step, and nothing else.

    Attributes:
        params: the cost-relevant parameters that differ from their defaults.
        timed: whether device time is measured; operations are counted always.
        trains: as in :class:`kdarena.plan.spec.RunSpec`.
        capture: whether steps are captured, as in :class:`kdarena.plan.spec.RunSpec`.
        compiled, views: as there.
        stored: as there: of a profile of steps that look teachers' outputs up, and of the step that fills them in.
        part: a profile is measured in parts, since what a machine's neighbours do to a step changes over seconds; numbered from 0.
    """

    task: str
    method: str
    source: str
    params: Mapping[str, Value]
    teachers: tuple[tuple[TeacherSpec, str], ...]
    protocol: Literal["validated", "published"]
    data: str
    precision: Literal["fp32", "bf16"]
    device: str
    device_name: str
    threads: int
    torch: str
    code: str
    timed: bool
    trains: TeacherSpec | None = None
    compiled: bool = False
    views: int | None = None
    stored: Parts = ()
    part: int = 0
    capture: bool = False

    @property
    def key(self) -> str:
        """16 hexadecimal digits that name this part of a profile."""
        return digest(self)

    @property
    def seed(self) -> int:
        """The seed that it is measured on: a final run's, by which no method can tell it from a run, and the same whenever it is measured."""
        return derive(0, "profile", self.key) % SEEDS


@dataclass(frozen=True)
class PhaseProfile:
    """One phase as measured.

    Attributes:
        phase, steps, share: as scheduled.
        epochs: of the training set that a step sees.
        flops: of one step.
        relative: cost in steps of the plain student, the median of the groups of blocks; None where time was not measured.
        error: standard error of ``relative`` over ``relative`` (:func:`kdarena.plan.profile_parts.cost_of`).
        groups: the logarithms of the groups' ratios, of one part or of all; empty for the plain student, which is the unit.
    """

    phase: str
    steps: int | None
    share: float
    epochs: float
    flops: int
    relative: float | None = None
    error: float | None = None
    groups: tuple[float, ...] = ()


@dataclass(frozen=True)
class CostProfile:
    """What a cost profile, or a part of it, gave.

    Attributes:
        student_s: device seconds of one step of the plain student, measured in turn with it.
        seconds: device time that it took.
        latency_ms: median time of one sample through the deployed student.
        read: of each teacher of the run, what the method reads of those outputs of it that can be looked up.
        status: ``"done"``; ``"skipped"`` where a hook said that the method does not apply; else how it failed.
        error: why it is not done.
        own_memory_mib, free_memory_mib: on a GPU what the method and the plain student took together, and what was free before; None elsewhere.
    """

    key: str
    phases: tuple[PhaseProfile, ...]
    steps_per_epoch: int
    student_s: float | None
    seconds: float
    latency_ms: float
    parameters: int
    status: str = "done"
    error: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    own_memory_mib: float | None = None
    free_memory_mib: float | None = None
    read: Parts = ()

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> CostProfile:
        """From plain JSON values; raises ``ValueError`` with the name of a field that is unknown, missing or of another type."""
        return from_plain(CostProfile, values)

    def unit_cost(self, phase: PhaseProfile, unit: Unit, student_s: float | None) -> float:
        """Cost of one step of a phase in a unit; seconds are counted in the recorded step time of the plain student."""
        if unit == "flop":
            return float(phase.flops)
        if unit == "epochs":
            return phase.epochs
        if phase.relative is None or student_s is None:
            raise ValueError("this profile measured no time")
        return phase.relative * student_s


@dataclass(frozen=True)
class StudentStep:
    """What a step of the plain student takes on a task with a teacher, on a machine: the unit in which the steps of all methods there are priced.

    Attributes:
        seconds: of device time.
    """

    seconds: float


def student_step_key(profile: str, reference: str) -> str:
    """Names the step of the plain student.

    Args:
        profile: key of its own cost profile, which task and machine are part of.
        reference: digest of the reference teacher's weights.
    """
    return digest([profile, reference])
