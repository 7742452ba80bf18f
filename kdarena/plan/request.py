"""What the user asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from kdarena.params import Value
from kdarena.plan.amounts import Amount
from kdarena.plan.ladder import Ladder
from kdarena.tracks.card import TaskCard
from kdarena.tracks.own import OwnTask
from kdarena.tracks.recipes import RecipeName

CONTROLS = ("student", "kd")
"""The methods that every row is read against: the student alone, and Hinton's distillation."""
SWEPT = "sweep"
"""Setting of the runs of a sweep, in the record."""
CHARGED = "charged"
"""Fact of the runs from whose budget their teachers are paid."""
RUNG = "rung:"
"""Setting of a race's runs, in the record, with the rung's part of a final budget behind it: ``rung:0.125``."""


@dataclass(frozen=True)
class GivenTeacher:
    """A reference teacher that is not trained.

    Attributes:
        checkpoint: the file of its weights; None: they, or its logits, come with the task.
    """

    checkpoint: str | None = None


@dataclass(frozen=True)
class Request:
    """What the user asked for, checked; everything that a plan depends on but the methods.

    Attributes:
        tasks: their names, in order and each once.
        budget: of a training run; None: fitted to ``total``.
        tuning_budget: of each method's tuning; an amount of 0: no tuning.
        untuned: no tuning, either.
        both: whether the defaults and the tuned setting both get final runs, where only the one that won the trials does otherwise.
        scope: ``own``: methods run on the tracks of their papers, and the controls everywhere; ``all`` or None: wherever their equations hold.
        teacher_budget: of each teacher's training; None: the recipe on embedded tasks and under ``published``, else what ``Teachers`` derives
            from ``budget`` or ``total``.
        seeds: of the final runs.
        total: seconds for everything, where no budget is stated; None: the default, to which the teachers of embedded tasks are added.
        yes: whether to start what takes more than a day, too.
        capture: whether steps are captured once and replayed; ``auto``: on CUDA.
        params: by method, the values that its parameters and the common hyper-parameters of the recipe are fixed to.
        teacher_checkpoint: the user's own reference teacher.
        teacher_weights: which of several weights in its file: ``ema``, a key or a prefix; None: those that were trained.
        teacher_logits: file of the logits by which alone the reference teacher of the only task is known; the task is in ``own``.
        recipe: ``paper``: tasks are trained by their own recipes; otherwise by that of this name, under which they are other tasks.
        charge_teacher: whether what teachers cost is taken from each method's budget.
        metrics: groups of further metrics of the final runs.
        ladder: further budgets that methods are trained with after the final runs.
        compile: ``auto``: call student and teachers compiled where that pays; ``off``: never.
        views: fixed augmentations of each training sample, of which one is drawn every time; None: any of the task's augmentation.
        teacher_outputs: ``auto``: outputs of teachers are looked up where that buys a method more steps; ``live``: teachers are called in every step.
        swept: the method whose parameter is swept: its runs are controls, which are never on a leaderboard.
        side_by_side: runs that train side by side on one device; None: one on a CPU, on a GPU as many as its memory holds.
        images, text, task_from: what the user brings as a task: a folder of pictures, a file of sentences, a function; they are in ``own``.
        unlabelled, skip_unreadable, image_size, class_weights: of the folder of pictures: a folder of unlabelled ones; whether to go on without files that
            can't be used; pixels of a side; ``balanced``: the loss weighs classes alike.
        columns: of ``text``: the names or numbers of the columns of the text, or of two, and of the label.
        teacher, student: networks of an own task, or of the listed tasks named, by reference.
        taps: which submodules of networks by reference show feature maps.
        own: the tasks that the user brings.
        out: the output directory.
    """

    tasks: tuple[str, ...] = ()
    budget: Amount | None = None
    tuning_budget: Amount | None = None
    untuned: bool = False
    both: bool = False
    scope: Literal["own", "all"] | None = None
    teacher_budget: Amount | None = None
    seeds: int | None = None
    total: float | None = None
    device: str = "auto"
    workers: int | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    capture: Literal["auto", "on", "off"] = "auto"
    params: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    protocol: Literal["validated", "published"] = "validated"
    data_root: str | None = None
    teacher_checkpoint: str | None = None
    teacher_weights: str | None = None
    teacher_logits: str | None = None
    recipe: RecipeName = "paper"
    plugin_paths: tuple[str, ...] = ()
    charge_teacher: bool = False
    metrics: tuple[str, ...] = ()
    yes: bool = False
    ladder: Ladder = field(default_factory=Ladder)
    compile: Literal["auto", "off"] = "auto"
    views: int | None = None
    teacher_outputs: Literal["auto", "live"] = "auto"
    swept: str | None = None
    side_by_side: int | None = None
    images: str | None = None
    unlabelled: str | None = None
    skip_unreadable: bool = False
    image_size: int | None = None
    class_weights: Literal["none", "balanced"] = "none"
    text: str | None = None
    columns: str | None = None
    task_from: str | None = None
    teacher: str | None = None
    student: str | None = None
    taps: str | None = None
    own: tuple[OwnTask, ...] = ()
    out: Path = Path("kdarena-out")

    def given_teacher(self, card: TaskCard) -> GivenTeacher | None:
        """A task's reference teacher where it is the user's own and is not trained; a stated budget trains further one that could be."""
        if self.teacher_checkpoint is not None:
            return GivenTeacher(self.teacher_checkpoint)
        comes_trained = card.given_teacher is not None and self.teacher_budget is None
        return GivenTeacher() if comes_trained or not card.teacher_trainable else None

    def gives_teacher(self, card: TaskCard) -> bool:
        """Whether a task's reference teacher is the user's own and is not trained."""
        return self.given_teacher(card) is not None

    @property
    def tunes(self) -> bool:
        """Whether methods are tuned: not where the user said no, nor where there is no validation part to tune on."""
        refused = self.untuned or (self.tuning_budget is not None and self.tuning_budget.value == 0)
        return not refused and self.protocol != "published"
