"""A run as a value: what to train (:class:`RunSpec`) and what came of it (:class:`RunResult`).

Both are frozen, plain and JSON, so that they cross process borders and are recorded. A spec is hashed to a key:
the same key is the same run.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from kdarena.method.declaration import TeacherSpec
from kdarena.params import Value
from kdarena.plan.plain import from_plain
from kdarena.tracks.samples import PackedSamples

Purpose = Literal["teacher", "given", "tune", "final", "control"]
"""``given``: the user's own teacher, scored and not trained; ``control``: the student along the ladder of shorter budgets."""

Status = Literal["done", "underspent", "unpaid", "underpriced", "pruned", "diverged", "oom", "timeout", "killed", "error", "skipped"]
"""``done`` and ``underspent`` (ended early, over 3 % of the budget unspent) carry a result. ``unpaid`` and ``underpriced`` are statuses of a row, not of a
run: its runs took time that was not charged, or steps that cost more than their price. ``pruned`` ended a trial of an older version; the rest are failures, except ``skipped``.
``killed``: from outside, and not for memory."""

COMPLETE: tuple[Status, ...] = ("done", "underspent")
LASTING: tuple[Status, ...] = ("done", "underspent", "pruned", "diverged")
"""What is not run again when the same command is repeated; errors are, since their cause may have been removed."""

Unit = Literal["s", "flop", "epochs"]


FILLING = "teacher outputs"
"""Name of the phase in which outputs of teachers are computed on all views of the training samples, before those of the method."""

FILLED_S = "teacher_outputs_s"
"""In :attr:`RunResult.system`: device seconds in which a run filled in outputs of its teachers; 0 where runs before it had."""

Parts = tuple[tuple[str, ...], ...]
"""Of each teacher of a run, what of its outputs is looked up, by the names of :mod:`kdarena.tracks.reading`; empty for one that is called in every step."""


@dataclass(frozen=True)
class PhaseCost:
    """What one step of a phase costs, as profiled.

    Attributes:
        phase: its name.
        steps: its fixed number of steps, or None where it takes a share.
        share: its share of what is left, where it takes one.
        cost: of one step, in the budget's unit.
        relative: of one step, in steps of the plain student (device time); None where time was not measured.
        error: standard error of ``relative`` over ``relative``; None where time was not measured.
        flops: of one step, as counted by ``torch.utils.flop_counter``.
    """

    phase: str
    steps: int | None
    share: float
    cost: float
    relative: float | None
    error: float | None
    flops: int


def of_method(costs: Sequence[PhaseCost]) -> tuple[PhaseCost, ...]:
    """The costs of the method's own phases, without that which fills in the teachers' outputs."""
    return tuple(cost for cost in costs if cost.phase != FILLING)


@dataclass(frozen=True)
class Budget:
    """An amount in a unit: seconds of device time, floating-point operations or epochs."""

    amount: float
    unit: Unit


@dataclass(frozen=True)
class CurvePlan:
    """Where the learning curve of a run is measured on validation, in addition to its end.

    Attributes:
        places: parts of the budget, in ascending order.
        samples: of the validation part at every place; those of a smaller number are among those of a larger one.
    """

    places: tuple[float, ...]
    samples: int


@dataclass(frozen=True)
class RunSpec:
    """Everything that decides what a run does; nothing that doesn't.

    Attributes:
        task: name of the task.
        method: name of the method; for a teacher the plain student's, ``student``.
        source: digest of the method's code: an edited method is another run.
        purpose: why it is run.
        seed: decides split, student initialisation, data order, augmentation and the method's own draws.
        params: the method's parameters that the user fixed or tuning changed; all others have their defaults.
        recipe: the same of the common hyper-parameters of the recipe, ``lr`` and ``weight_decay``, whose defaults are the task's recipe.
        budget: what it may spend.
        costs: the profiled costs of its phases, in order.
        teachers: what ``Method.teachers`` declared, each with the digest of its weights.
        reference: digest of the reference teacher's weights, for agreement metrics; None for a teacher's own run.
        start: digest of the weights that the student starts from, a teacher's; of the weights that are scored where a teacher was given;
            None: it is initialised afresh.
        trains: the network that a teacher's run trains; None: the task's student.
        protocol: ``validated`` trains on train without validation; ``published`` on all of it.
        data: digest of the data set.
        precision: ``fp32`` or ``bf16``.
        device: ``cpu``, ``cuda`` or ``mps``: the kind, not the index.
        device_name: the model of the device.
        threads: CPU threads that it trains with.
        torch: version of torch.
        code: digest of the harness's code that can change a number (:func:`kdarena.plan.code.harness_digest`).
        metric_groups: further metrics that the user asked for, by group.
        curve: where its learning curve is measured; None: nowhere.
        capture: whether steps are captured once and replayed; never on a CPU.
        compiled: whether its networks are called compiled.
        views: fixed augmentations of each training sample, of which one is drawn every time; None: any of the task's augmentation.
        stored: what is looked up of its teachers' outputs; empty: nothing, they are called in every step. Otherwise :data:`FILLING` is the first of ``costs``.
    """

    task: str
    method: str
    source: str
    purpose: Purpose
    seed: int
    budget: Budget
    costs: tuple[PhaseCost, ...]
    params: Mapping[str, Value] = field(default_factory=dict)
    recipe: Mapping[str, float] = field(default_factory=dict)
    teachers: tuple[tuple[TeacherSpec, str], ...] = ()
    reference: str | None = None
    start: str | None = None
    trains: TeacherSpec | None = None
    protocol: Literal["validated", "published"] = "validated"
    data: str = ""
    precision: Literal["fp32", "bf16"] = "fp32"
    device: str = "cpu"
    device_name: str = ""
    threads: int = 1
    torch: str = ""
    code: str = ""
    metric_groups: tuple[str, ...] = ()
    curve: CurvePlan | None = None
    capture: bool = False
    compiled: bool = False
    views: int | None = None
    stored: Parts = ()

    @property
    def key(self) -> str:
        """16 hexadecimal digits that name this run."""
        return digest(self)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> RunSpec:
        """The inverse of :meth:`to_json`; raises ``ValueError`` with the name of a field that is unknown, missing or of another type."""
        return from_plain(RunSpec, values)


@dataclass(frozen=True)
class PhaseRecord:
    """What a phase got: its name, the steps committed and trained, and whether ``stop_when`` ended it."""

    name: str
    committed: int
    steps: int
    ended_early: bool = False


@dataclass(frozen=True)
class RunResult:
    """What came of a run.

    Attributes:
        key: of its spec.
        status: how it ended.
        metrics: on test (``test/top1`` …), on validation (``validation/top1`` …), on the training set, by name; percentages as such.
        curves: per name of a term (``train/ce``) or metric (``validation/top1``, on a part of validation) a list of (step, value).
        phases: what each phase got.
        committed: committed steps times profiled costs, in the budget's unit.
        spent_s: measured device time of the charged steps in seconds (:class:`kdarena.tracks.measure.DeviceClock`), of a run among several its part of
            theirs: information, never a budget.
        outside: device seconds of the method outside its charged steps, by hook, less what the plain student takes there.
        steps, samples, flops: trained, seen, counted.
        student_updates: steps of an optimiser on the deployed student's own parameters.
        taken: what the method learned from in addition to labels, as it was seen to be taken: ``pool teacher``, ``own teacher``, ``auxiliary data``,
            ``teacher's weights``.
        parameters: of the deployed student.
        system: peak memory, processor time, build and evaluation seconds and the like; ``together``: how many runs trained side by side.
        environment: versions, device, threads, precision.
        checkpoint: file name of the exported student, relative to the directory that the engine was given, or None.
        weights: digest of that file, by which a teacher is addressed and a student is verified, or None.
        test_samples: what the ranked metric is made of on each test sample; recorded in a file of its own (:mod:`kdarena.record.samples`), and None here
            once it is.
        eager: why steps were not captured, by phase; empty where all were, and where none were to be.
        notes: what a reader of its row has to know, one line each.
        error: the last line of what went wrong, or None.
    """

    key: str
    status: Status
    metrics: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, list[tuple[int, float]]] = field(default_factory=dict)
    phases: tuple[PhaseRecord, ...] = ()
    committed: float = 0.0
    spent_s: float = 0.0
    outside: Mapping[str, float] = field(default_factory=dict)
    steps: int = 0
    samples: int = 0
    flops: float = 0.0
    student_updates: int = 0
    taken: tuple[str, ...] = ()
    parameters: int = 0
    system: Mapping[str, float] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    checkpoint: str | None = None
    weights: str | None = None
    test_samples: PackedSamples | None = None
    eager: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> RunResult:
        """The inverse of :meth:`to_json`; raises ``ValueError`` with the name of a field that is unknown, missing or of another type."""
        return from_plain(RunResult, values)


def digest(value: Any) -> str:
    """16 hexadecimal digits of a dataclass or JSON value, the same on every machine."""
    plain = dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
