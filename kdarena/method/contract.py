"""The contract between the harness and a method: four hooks, and the values they exchange.

A method is a plugin: an object (a module or an instance) with an attribute ``method`` of type :class:`Method` and
implementations of any of the four hooks below, marked with :data:`hookimpl`. The harness's own defaults are a plugin of
the same kind, so a method writes only what its paper changes. For each run a pluggy manager holds the defaults and that
one method; hooks are resolved once per run, never per step.

This module imports neither torch nor anything heavy: the parent process reads declarations without them.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pluggy

from kdarena.params import Params

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from kdarena.method.run import Run
    from kdarena.method.step import Step
    from kdarena.tracks.card import TaskCard
    from kdarena.tracks.evaluation import Evaluation
    from kdarena.tracks.task import Task
    from kdarena.tracks.values import Outputs

PROJECT = "kdarena"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


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

    Attributes:
        name: the name on the command line and on the board: lower-case letters, digits and hyphens.
        title: what it is, in one line.
        paper: its source.
        equations: its loss in words, for ``kdarena plugins show``.
        tracks: the tracks of the paper's own experiments.
        extended: further tracks on which the equations hold, each with the mapping used; shown as extended.
        excluded: tracks on which they don't hold, each with the reason.
        Params: a frozen dataclass of its hyper-parameters.
        outputs: kinds of a task's outputs that its equations serve: ``"classes"`` (scores), ``"values"`` (a regression).
        labels: False where training must not see labels; reading ``step.targets`` is then an error.
        auxiliary: whether training takes the task's auxiliary inputs: shown as further supervision.
        inherits: whether its student starts from a teacher's weights where others start afresh: shown as further supervision.
        teachers: the teachers it takes from the pool, given the task's card and its parameters.
        applies: the reason why it can't run on a task with these parameters, or None. What only the networks show (shapes that
            can't be aligned) a hook says by raising :class:`kdarena.NotApplicable`.
    """

    name: str
    title: str
    paper: Paper
    equations: str = ""
    tracks: tuple[str, ...] = ("classification",)
    extended: Mapping[str, str] = field(default_factory=dict)
    excluded: Mapping[str, str] = field(default_factory=dict)
    Params: type[Params] = Params
    outputs: tuple[str, ...] = ("classes",)
    labels: bool = True
    auxiliary: bool = False
    inherits: bool = False
    teachers: Callable[[TaskCard, Any], Sequence[TeacherSpec]] = reference_teacher
    applies: Callable[[TaskCard, Any], str | None] = _applies_everywhere

    def covers(self, track: str) -> bool:
        """Whether its equations hold on a track, as the paper's own or extended."""
        return track in self.tracks or track in self.extended

    def exclusion(self, track: str) -> str:
        """Why they don't."""
        return self.excluded.get(track, f"its equations are not stated for the track {track!r}")


@dataclass
class Learner:
    """What is trained in a run.

    Attributes:
        student: deployed and scored; of the architecture of the task's reference student, which the harness asserts.
        helpers: predictors, critics, peers, transforms by name: trained along, thrown away, never exported.
        deploy: further networks to score beside the student, by name: reference rows of the board, without a rank.
        report: a method's own numbers, asked for once at the end of a run; recorded as ``method/NAME``.
        uncertainties: of ``"student"`` or a name in ``deploy``: scores [P] by name from its outputs, higher where it is less
            sure. Where given, misclassification and out-of-distribution detection by each score are recorded.
    """

    student: nn.Module
    helpers: dict[str, nn.Module] = field(default_factory=dict)
    deploy: dict[str, nn.Module] = field(default_factory=dict)
    report: Callable[[Evaluation], Mapping[str, float]] | None = None
    uncertainties: dict[str, Callable[[Outputs], Mapping[str, Tensor]]] = field(default_factory=dict)

    def modules(self) -> tuple[nn.Module, ...]:
        """The student, then the helpers in the order of their names' insertion."""
        return (self.student, *self.helpers.values())

    def parameters(self) -> list[nn.Parameter]:
        """All trainable parameters of student and helpers, each once."""
        found: dict[int, nn.Parameter] = {}
        for module in self.modules():
            found.update((id(parameter), parameter) for parameter in module.parameters() if parameter.requires_grad)
        return list(found.values())


Curve = Callable[[float], float]
"""A factor on the learning rate as a function of the phase's progress in [0, 1): never of epochs, so that any budget gets the whole schedule."""


@dataclass(frozen=True)
class Update:
    """One optimiser's part of a step.

    The rule for several updates in one step: they see the same forward pass and the same weights; each takes gradients
    for its own parameters only; then all step, in order. ``loss(step)`` is asked once for each, with ``step.update`` its name.

    Attributes:
        name: what ``step.update`` says while its loss is computed.
        params: the parameters that it trains.
        optimizer: builds its optimiser from the parameters; None: the task's recipe, with the common hyper-parameters.
        curve: its learning rate over the phase; None: the task's curve.
        clip: largest norm of its gradient, or None.
        before: goes before the joint updates and steps at once (a critic); what was computed through its modules is computed again.
        repeat: how often a ``before`` update steps.
        keep: carry the optimiser's state over from the update of the same name in the phase before.
        optional: a parameter without gradient at the phase's first step is no error.
        after: called with the step after all updates have stepped (moving averages, banks).
    """

    name: str
    params: Iterable[nn.Parameter]
    optimizer: Callable[[list[nn.Parameter]], Optimizer] | None = None
    curve: Curve | None = None
    clip: float | None = None
    before: bool = False
    repeat: int = 1
    keep: bool = False
    optional: bool = False
    after: Callable[[Step], None] | None = None


@dataclass(frozen=True)
class Phase:
    """A stretch of a run with its own updates.

    Attributes:
        name: what ``step.phase`` says.
        updates: builds the updates, called after ``begin``; None: one update over everything the learner trains.
        share: its weight in dividing what is left of the budget among the phases that have no fixed ``steps``.
        steps: a fixed number of steps instead of a share.
        begin: prepares the phase; has to leave it as new when called again, since profile enters a phase several times.
        until: ends the phase early where it returns True; asked on a stride of steps, never of the last phase.
        work: what a step does instead of a loss (fit, cache, decode), so that it can be profiled and charged.
        data: ``"augmented"`` batches as in training; ``"auxiliary"``: the same with ``step.auxiliary`` beside them, a batch of the task's
            unlabelled auxiliary set; ``"plain"``: one unaugmented pass in random order, again and again; ``"none"``: no batch.
    """

    name: str
    updates: Callable[[Run], Sequence[Update]] | None = None
    share: float = 1.0
    steps: int | None = None
    begin: Callable[[Run], None] | None = None
    until: Callable[[Run], bool] | None = None
    work: Callable[[Step], None] | None = None
    data: Literal["augmented", "auxiliary", "plain", "none"] = "augmented"


class MethodHooks:
    """The four hooks. An implementation names only the arguments that it needs."""

    @hookspec(firstresult=True)
    def build_teacher(self, task: Task, params: Params, run: Run) -> Any:
        """Frozen module(s) that produce targets, or :data:`NO_TEACHER`.

        The teachers that ``Method.teachers`` declared are ``run.teachers``, loaded and in eval mode. Returns one module
        or a sequence of them. The harness asserts after the hook and after the run that no batch norm is in train mode,
        no parameter wants a gradient and nothing has changed; it never calls ``.eval()`` itself.
        Default: all of ``run.teachers``.
        """

    @hookspec(firstresult=True)
    def build_student(self, task: Task, teacher: Any, params: Params, run: Run) -> Learner | None:
        """The :class:`Learner`. Default: ``Learner(run.new_student())``."""

    @hookspec(firstresult=True)
    def loss(self, step: Step) -> Mapping[str, Tensor] | None:
        """Named, weighted scalar terms; what is minimised is their sum. Default: the task's loss of the student."""

    @hookspec(firstresult=True)
    def schedule(self, task: Task, learner: Learner, params: Params, run: Run) -> Sequence[Phase] | None:
        """The phases of a run, in order. Default: one phase, one update, the task's optimiser and its curve."""


HOOKS = ("build_teacher", "build_student", "loss", "schedule")
