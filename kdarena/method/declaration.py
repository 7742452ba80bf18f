"""What a method declares of itself: the paper, its parameters, the teachers that it takes, what it requires of a task.

The parent process reads declarations without torch, before anything is built.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kdarena import params as parameters
from kdarena.tracks.card import Offer, TaskCard


class _NoTeacher(enum.Enum):
    NO_TEACHER = "no teacher"

    def __repr__(self) -> str:
        return "NO_TEACHER"


NO_TEACHER = _NoTeacher.NO_TEACHER
"""What ``build_teacher`` returns where a method has none (``None`` would mean "ask the next plugin" to pluggy)."""


@dataclass(frozen=True)
class TeacherSpec:
    """A teacher that a method takes from the task's pool, declared without building it.

    Attributes:
        architecture: ``"teacher"`` or ``"student"`` (the task's own pair), or the name of an architecture of the track.
        member: which of the independently seeded trainings; member 0 of ``"teacher"`` is the task's reference teacher.
        dropout: dropout probability inside the network while the teacher is trained.
        corruption: probability that a label is replaced by one of another class while the teacher is trained.
    """

    architecture: str = "teacher"
    member: int = 0
    dropout: float = 0.0
    corruption: float = 0.0

    @property
    def special(self) -> bool:
        """Whether it was trained otherwise than the recipe says."""
        return self.dropout > 0 or self.corruption > 0


REFERENCE = TeacherSpec()
"""The task's one reference teacher: what *given* means."""


def teacher_pool(count: int, architecture: str = "teacher", *, dropout: float = 0.0, corruption: float = 0.0) -> tuple[TeacherSpec, ...]:
    """``count`` members of the task's pool, trained from different seeds."""
    return tuple(TeacherSpec(architecture, member, dropout, corruption) for member in range(count))


def reference_teacher(card: TaskCard, params: Any) -> tuple[TeacherSpec, ...]:
    """The default of ``Method.teachers``: the reference teacher alone."""
    return (REFERENCE,)


def no_teachers(card: TaskCard, params: Any) -> tuple[TeacherSpec, ...]:
    """For ``Method.teachers`` of a method that learns without a given teacher."""
    return ()


ROWS: Mapping[str, str] = {
    "segmentation": "each pixel of the score map is a row of logits",
    "detection": "each class of each place of the pyramid is a row of the logits (0, z), whose softmax is the score's sigmoid",
    "text": "each sequence is a row of logits",
    "speech": "each token up to the end of the sentence is a row of logits",
}
"""``Method.extended`` of a method that was stated for the images of a batch and takes rows of logits (:meth:`kdarena.Task.rows`)."""


def _applies_everywhere(card: TaskCard, params: Any) -> str | None:
    return None


@dataclass(frozen=True)
class Paper:
    """Where a method comes from."""

    title: str
    venue: str
    year: int
    url: str


@dataclass(frozen=True)
class Method:
    """What a method is, as the parent process, the documentation and the board read it.

    Its equations are in the docstring of the module that implements it, which ``kdarena plugins show`` prints.

    Attributes:
        name: the name on the command line and on the board: lower-case letters, digits and hyphens.
        title: what it is, in one line.
        paper: its source.
        tracks: the tracks of the paper's own experiments.
        extended: further tracks on which the equations hold, each with the mapping used; shown as extended.
        excluded: tracks on which they don't hold, each with the reason.
        Params: a frozen dataclass of its hyper-parameters.
        requires: what a task has to offer (:data:`kdarena.Offer`).
        labels: False where training must not see labels; reading ``step.targets`` is then an error.
        auxiliary: whether training takes the task's auxiliary inputs: shown as further supervision.
        active_dropout: whether dropout of its teachers is in train mode on purpose; any other module in train mode is an error.
        inherits: whether its student starts from a teacher's weights where others start afresh: shown as further supervision.
        teachers: the teachers it takes from the pool, given the task's card and its parameters.
        applies: the reason why it can't run on a task with these parameters, or None, for what ``requires`` and the parameters' bounds
            can't say. What only the networks show (shapes that can't be aligned) a hook says by raising :class:`kdarena.NotApplicable`.
    """

    name: str
    title: str
    paper: Paper
    tracks: tuple[str, ...] = ("classification",)
    extended: Mapping[str, str] = field(default_factory=dict)
    excluded: Mapping[str, str] = field(default_factory=dict)
    Params: type[parameters.Params] = parameters.Params
    requires: tuple[Offer, ...] = ("class scores",)
    labels: bool = True
    auxiliary: bool = False
    active_dropout: bool = False
    inherits: bool = False
    teachers: Callable[[TaskCard, Any], Sequence[TeacherSpec]] = reference_teacher
    applies: Callable[[TaskCard, Any], str | None] = _applies_everywhere

    def covers(self, track: str) -> bool:
        """Whether its equations hold on a track, as the paper's own or extended."""
        return track in self.tracks or track in self.extended

    def exclusion(self, track: str) -> str:
        """Why they don't."""
        return self.excluded.get(track, f"its equations are not stated for the track {track!r}")

    def reason_against(self, card: TaskCard, params: parameters.Params) -> str | None:
        """Why it does not run on a task with these parameters, or None where nothing is against it."""
        if not self.covers(card.track):
            return self.exclusion(card.track)
        missing = [need for need in self.requires if need not in card.offers]
        if missing:
            return f"it needs {' and '.join(missing)}, which the task {card.name!r} does not offer"
        return self.applies(card, params)
