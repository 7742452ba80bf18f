"""The hooks of one method over the defaults, resolved once, with what they return checked."""

from __future__ import annotations

import errno
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, get_args, get_type_hints

import torch
from torch import Tensor, nn

from kdarena.errors import Diverged, Locked, MethodError, NotApplicable
from kdarena.execute.average import Average
from kdarena.execute.capture import Capture
from kdarena.execute.left_running import LeftRunning
from kdarena.execute.payment import HookClock
from kdarena.method.contract import Phase, Terms, Update
from kdarena.method.declaration import NO_TEACHER
from kdarena.method.instance import manager_for, new_instance
from kdarena.method.learner import Learner
from kdarena.method.plugin import Plugin
from kdarena.method.reasons import reason
from kdarena.method.run import Run, TeacherChanged
from kdarena.method.step import Step
from kdarena.params import Params
from kdarena.tracks.at_work import at_work

DATA = get_args(get_type_hints(Phase)["data"])
"""What a phase's batches can be."""
OUT_OF_MEMORY = ("not enough memory", "can't allocate memory", "cannot allocate memory", "defaultcpuallocator", "out of memory", "status_alloc_failed")
"""What torch and the libraries beneath it say in a ``RuntimeError`` when memory has run out, in lower case."""


class Hooks:
    """The hooks of a method's instance for one run, as plain calls.

    Whatever a hook raises or returns wrongly, or leaves running, becomes a :class:`MethodError` that names it.

    Attributes:
        name: of the method.
        clock: what its hooks take.
        instance: of its class, made for this run; or its module.
        loss: its terms of a step.
        capture: captures its steps; None: all are eager.
        eager: why steps were not captured, by phase.
        average: of the student's weights, where the recipe scores that; the harness keeps it, and no hook sees it.
    """

    def __init__(self, plugin: Plugin, params: Params, device: torch.device | None = None, capture: Capture | None = None):
        assert plugin.method is not None
        self.name = plugin.method.name
        self.params = params
        self.capture = capture
        self.eager: dict[str, str] = {}
        self.average: Average | None = None
        self._running = LeftRunning()
        self.clock = HookClock(device or torch.device("cpu"))
        with self.guard("__init__"):
            self.instance = new_instance(plugin.implementation, params)
        self._manager = manager_for(self.instance)
        self._hook = self._manager.hook
        self.loss: Callable[[Step], Terms] = self._resolve_loss()
        self._student: dict[str, tuple[int, ...]] | None = None

    @contextmanager
    def away(self) -> Iterator[None]:
        """Other runs of the same process have their turn: what they take or leave running is theirs."""
        with self.clock.paused(), self._running.ignored():
            yield

    def release(self) -> None:
        """Drop the method's instance: what it does as it goes belongs to it too. The hooks can't be called any more."""
        self.average = None
        with self.clock.of("__del__"):
            self._manager.unregister(name="method")
            del self.instance, self.loss, self._hook, self._manager

    def build(self, run: Run, after: Callable[[str], None] = lambda hook: None) -> list[Phase]:
        """Call ``build_teacher``, ``build_student`` and ``schedule`` in turn; returns the phases.

        Args:
            after: called with the name of each hook from which on there is a student.
        """
        with self.guard("build_teacher"):
            teacher = self._hook.build_teacher(task=run.task, params=self.params, run=run)
            self._expect(self._is_teacher(teacher), "build_teacher", "a module, a sequence of modules or NO_TEACHER", teacher)
            run.teacher = teacher
            run.check_teachers(weights=False)
        with self.guard("build_student"):
            learner = self._hook.build_student(task=run.task, teacher=teacher, params=self.params, run=run)
            self._expect(isinstance(learner, Learner), "build_student", "a Learner", learner)
            run.learner = learner
            self.check_student(run)
            run.check_teachers(weights=False)
        after("build_student")
        with self.guard("schedule"):
            phases = self._hook.schedule(task=run.task, learner=learner, params=self.params, run=run)
            good = isinstance(phases, Sequence) and len(phases) > 0 and all(isinstance(phase, Phase) for phase in phases)
            self._expect(good, "schedule", "a list of at least one Phase", phases)
            self._check_phases(phases, run)
        after("schedule")
        run.train_mode()
        return list(phases)

    def check_student(self, run: Run) -> None:
        """Assert that the student that would be deployed is of the task's architecture, and no part of a helper."""
        if self._student is None:
            self._student = _shapes(run.new_student())
        student = run.learner.student
        networks = {"student": student, **run.learner.helpers, **run.learner.deploy}
        for name, network in networks.items():
            self._expect(isinstance(network, nn.Module), "build_student", f"a torch.nn.Module as {name!r} of the Learner", network)
        own = {id(parameter) for parameter in student.parameters()}
        for name, helper in run.learner.helpers.items():
            if any(id(parameter) in own for parameter in helper.parameters()):
                raise MethodError(
                    self.name,
                    "build_student",
                    f"helper {name!r} holds parameters of the student, which would be trained under two names; leave the student out of it",
                )
        if _shapes(student) != self._student:
            count, expected = parameter_count(student), parameter_count(run.new_student())
            problem = f"the deployed student ({count:,} parameters) is not of the architecture of the task's ({expected:,})"
            raise MethodError(self.name, "build_student", f"{problem}; use run.new_student()")

    def updates(self, phase: Phase, run: Run) -> list[Update]:
        """The updates of a phase, after its ``prepare`` was called."""
        with self.guard("updates"):
            updates = [Update("student", run.learner.parameters())] if phase.updates is None else list(phase.updates(run))
            good = all(isinstance(update, Update) for update in updates) and len(updates) > 0
            self._expect(good, "updates", f"a list of at least one Update for phase {phase.name!r}", updates)
            names = [update.name for update in updates]
            if len(set(names)) < len(names):
                raise MethodError(self.name, "updates", f"updates of phase {phase.name!r} share a name: {', '.join(names)}")
        return updates

    def check_terms(self, terms: Any, update: str) -> None:
        """Assert that ``loss`` returned named scalar tensors."""
        good = isinstance(terms, Mapping) and len(terms) > 0
        self._expect(good, "loss", f"named terms for update {update!r}, as {{'ce': tensor}}", terms)
        for name, term in terms.items():
            if not isinstance(name, str):
                raise MethodError(self.name, "loss", f"the name of a term has to be text, as in {{'ce': tensor}}, not {name!r:.60}")
            if not (isinstance(term, Tensor) and term.dim() == 0 and term.is_floating_point()):
                given = f"a tensor of shape {list(term.shape)}" if isinstance(term, Tensor) else type(term).__name__
                raise MethodError(self.name, "loss", f"expected a scalar tensor for term {name!r}, found {given}")

    @contextmanager
    def guard(self, hook: str) -> Iterator[None]:
        """Turn whatever the method's code raises or leaves running into an error that names plugin and hook; lack of memory stays what it is.

        Args:
            hook: one of the hooks, ``__init__``, or what a phase calls: ``prepare``, ``updates``, ``process``, ``stop_when``.
        """
        try:
            with self.clock.of(hook), at_work(hook):
                yield
        except (MethodError, NotApplicable, Diverged, MemoryError, torch.OutOfMemoryError):
            raise
        except (TeacherChanged, Locked) as error:
            raise MethodError(self.name, hook, str(error)) from error
        except (Exception, SystemExit) as error:
            if is_out_of_memory(error):
                raise
            raise MethodError(self.name, hook, reason(error)) from error
        running = self._running.new()
        if running:
            raise MethodError(self.name, hook, f"it left {running[0]} running; whatever works for a method has to end within its hook")

    def _resolve_loss(self) -> Callable[[Step], Terms]:
        """The method's own function where nothing wraps it: a pluggy call a step would cost 2 % of a 5 ms step."""
        implementations = self._hook.loss.get_hookimpls()
        if any(implementation.hookwrapper or implementation.wrapper for implementation in implementations):
            caller = self._hook.loss
            return lambda step: caller(step=step, params=self.params)  # type: ignore[no-any-return]
        own = implementations[-1]
        function: Callable[..., Terms] = own.function  # type: ignore[assignment]
        if own.argnames == ("step",):
            return function
        given = {"params": self.params} if "params" in own.argnames else {}
        if "step" in own.argnames:
            return lambda step: function(step=step, **given)
        return lambda step: function(**given)

    def _check_phases(self, phases: Sequence[Phase], run: Run) -> None:
        for phase in phases:
            self._expect(isinstance(phase.name, str), "schedule", "text as the name of a phase", phase.name)
            self._expect(phase.steps is None or type(phase.steps) is int, "schedule", f"a whole number as Phase.steps of phase {phase.name!r}", phase.steps)
            self._expect(isinstance(phase.share, (int, float)), "schedule", f"a number as Phase.share of phase {phase.name!r}", phase.share)
            self._expect(phase.data in DATA, "schedule", f"Phase.data of phase {phase.name!r} to be one of {', '.join(DATA)}", phase.data)
        names = [phase.name for phase in phases]
        if len(set(names)) < len(names):
            raise MethodError(self.name, "schedule", f"phases share a name: {', '.join(names)}")
        if phases[-1].steps is not None and all(phase.steps is not None for phase in phases):
            raise MethodError(self.name, "schedule", "every phase has a fixed number of steps; at least one has to take a share of the budget")
        for phase in phases:
            if (phase.steps is not None and phase.steps < 1) or (phase.steps is None and not 0 < phase.share < math.inf):
                raise MethodError(
                    self.name, "schedule", f"phase {phase.name!r} needs at least one step or a positive share, not {phase.steps} and {phase.share}"
                )
            if phase.data == "none" and phase.process is None:
                raise MethodError(self.name, "schedule", f"phase {phase.name!r} has data='none' but no process")
            if phase.data == "auxiliary" and not run.method.auxiliary:
                raise MethodError(self.name, "schedule", f"phase {phase.name!r} has data='auxiliary', which the method does not declare: set auxiliary=True")

    @staticmethod
    def _is_teacher(teacher: Any) -> bool:
        if teacher is NO_TEACHER or isinstance(teacher, nn.Module):
            return True
        return isinstance(teacher, Sequence) and len(teacher) > 0 and all(isinstance(module, nn.Module) for module in teacher)

    def _expect(self, good: bool, hook: str, expected: str, given: Any) -> None:
        if not good:
            try:
                text = repr(given)
            except Exception:
                text = type(given).__name__
            raise MethodError(self.name, hook, f"expected {expected}, found {text if len(text) < 60 else type(given).__name__}")


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def parameter_count(module: nn.Module) -> int:
    """The number of parameters of a network."""
    return sum(parameter.numel() for parameter in module.parameters())


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on any device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in OUT_OF_MEMORY)
