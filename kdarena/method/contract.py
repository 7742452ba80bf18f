"""The contract between the harness and a method: four hooks, and the phases and updates that they exchange.

What registers is a class (``variants = (MyMethod,)``) or a module of functions, each with an attribute ``method`` of type
:class:`Method` and implementations of any of the four hooks, marked with :data:`hookimpl`. For each run the harness makes an
instance of the class, whose ``params`` are the run's and whose attributes are its state; of a module the functions are called.
The harness's own defaults are a plugin of the same kind, so a method writes only what its paper changes. For each run a pluggy
manager holds the defaults and that one instance; hooks are resolved once per run, never per step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pluggy
from torch import Tensor, nn
from torch.optim import Optimizer

from kdarena.method.learner import Learner
from kdarena.method.run import Run
from kdarena.method.step import Step
from kdarena.params import Params
from kdarena.tracks.task import Task

PROJECT = "kdarena"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

Terms = Mapping[str, Tensor]
"""Named, weighted scalar terms of a loss: what is minimised is their sum."""

Curve = Callable[[float], float]
"""A factor on the learning rate as a function of the phase's progress in [0, 1): never of epochs, so that any budget gets the whole schedule."""


@dataclass(frozen=True)
class Update:
    """One optimiser's part of a step.

    The rule for several updates in one step: they see the same forward pass and the same weights; each takes gradients
    for its own parameters only; then all step, in order. ``loss(step)`` is called once for each, with ``step.update`` its name.

    Attributes:
        name: what ``step.update`` says while its loss is computed.
        params: the parameters that it trains.
        optimizer: builds its optimiser from the parameters; None: the task's recipe, with the run's learning rate and weight decay.
        curve: its learning rate over the phase; None: the task's curve.
        clip: largest norm of its gradient; None: the recipe's limit where ``optimizer`` is None too, else no limit.
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
        updates: builds the updates, called after ``prepare``; None: one update over everything the learner trains.
        share: its weight in dividing what is left of the budget among the phases that have no fixed ``steps``.
        steps: a fixed number of steps instead of a share.
        prepare: called before the first step; must reset the phase when it is called again, since measuring its cost enters it several times. It is not
            charged: what takes time belongs into ``process``, and a row whose hooks take more than a tenth of the budget is unpaid.
        stop_when: ends the phase early where it returns True; asked on a stride of steps, never of the last phase.
        process: what a step does instead of a loss (fit, cache, decode), so that it can be measured and charged.
        data: ``"augmented"`` batches as in training; ``"auxiliary"``: in addition ``step.auxiliary``, a batch of the task's
            unlabelled auxiliary set; ``"plain"``: one unaugmented pass in random order, again and again; ``"none"``: no batch.
    """

    name: str
    updates: Callable[[Run], Sequence[Update]] | None = None
    share: float = 1.0
    steps: int | None = None
    prepare: Callable[[Run], None] | None = None
    stop_when: Callable[[Run], bool] | None = None
    process: Callable[[Step], None] | None = None
    data: Literal["augmented", "auxiliary", "plain", "none"] = "augmented"


class MethodHooks:
    """The four hooks. An implementation names only the arguments that it needs.

    They are called in :mod:`kdarena.execute.hooks`: by ``Hooks.build``, and ``loss`` through ``Hooks._resolve_loss``; a new argument
    of a hook is passed there.
    """

    @hookspec(firstresult=True)
    def build_teacher(self, task: Task, params: Params, run: Run) -> Any:
        """Frozen module(s) that produce targets, or :data:`NO_TEACHER`.

        The teachers that ``Method.teachers`` declared are ``run.teachers``, loaded and in eval mode. Returns one module
        or a sequence of them. The harness asserts after the hook and after the run that no batch norm is in train mode,
        no parameter requires a gradient and nothing has changed; it never calls ``.eval()`` itself.
        Default: all of ``run.teachers``.
        """

    @hookspec(firstresult=True)
    def build_student(self, task: Task, teacher: Any, params: Params, run: Run) -> Learner | None:
        """The :class:`Learner`. Default: ``Learner(run.new_student())``."""

    @hookspec(firstresult=True)
    def loss(self, step: Step, params: Params) -> Terms:  # type: ignore[empty-body]
        """Named, weighted scalar terms; what is minimised is their sum; None is an error. Default: the task's loss of the student."""

    @hookspec(firstresult=True)
    def schedule(self, task: Task, learner: Learner, params: Params, run: Run) -> Sequence[Phase] | None:
        """The phases of a run, in order. Default: one phase, one update, the task's optimiser and its curve."""


HOOKS = ("build_teacher", "build_student", "loss", "schedule")
