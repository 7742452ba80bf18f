"""The updates of a phase at work: each step's losses, gradients and optimiser steps, by the rule of the contract."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kdarena.errors import MethodError
from kdarena.execute.average import Average
from kdarena.execute.captured_steps import CapturedSteps
from kdarena.execute.hooks import Hooks
from kdarena.execute.python_values import python_values
from kdarena.execute.rates import rate_tensors
from kdarena.execute.step_terms import Name, StepTerms
from kdarena.execute.watched import StudentWeights, strangers
from kdarena.method.contract import Curve, Phase, Update
from kdarena.method.run import Run
from kdarena.method.step import STRIDE, Step
from kdarena.tracks.values import Batch


class BoundUpdate:
    """An update with its optimiser, for the length of a phase."""

    def __init__(self, update: Update, run: Run, hooks: Hooks, previous: dict[str, BoundUpdate]):
        self.update = update
        self.name = update.name
        self.parameters = _unique(update.params)
        if not self.parameters:
            raise MethodError(hooks.name, "updates", f"update {update.name!r} trains no parameters")
        if any(not parameter.requires_grad for parameter in self.parameters):
            raise MethodError(hooks.name, "updates", f"update {update.name!r} names a frozen parameter; leave teachers out of Update.params")
        kept = previous.get(update.name) if update.keep else None
        self.optimizer: Optimizer
        self._base: list[float]
        self._rates: list[Tensor] | None = None
        if kept is not None and [id(parameter) for parameter in kept.parameters] == [id(parameter) for parameter in self.parameters]:
            self.optimizer, self._base, self._rates = kept.optimizer, kept._base, kept._rates
        else:
            self.optimizer = run.optimizer(self.parameters) if update.optimizer is None else update.optimizer(self.parameters)
            self._base = [group["lr"] for group in self.optimizer.param_groups]
            if hooks.capture is not None:
                self._rates = rate_tensors(self.optimizer)
        # a limit of the recipe's belongs to the recipe's optimiser; an update with an optimiser of its own states its own
        self._clip = update.clip if update.clip is not None or update.optimizer is not None else run.task.card.recipe.clip
        self._curve: Curve = update.curve or run.task.curve
        self._factor: float | None = None
        self.ids = frozenset(id(parameter) for parameter in self.parameters)

    def set_rate(self, progress: float) -> None:
        """Put the curve's learning rate at this progress into the optimiser."""
        factor = self._curve(progress)
        if factor != self._factor:
            self._factor = factor
            for position, (group, base) in enumerate(zip(self.optimizer.param_groups, self._base, strict=True)):
                if self._rates is None:
                    group["lr"] = base * factor
                else:
                    self._rates[position].fill_(base * factor)

    @property
    def reason(self) -> str | None:
        """Why its steps can't be captured, as far as it is the optimiser's; None: they can."""
        return (
            None if self._rates is not None else f"optimiser {type(self.optimizer).__name__} of update {self.name!r} can't take its learning rate from a tensor"
        )

    def clear(self) -> None:
        """Drop old gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def step(self, gradients: Sequence[Tensor | None] | None = None) -> None:
        """Step with the gradients given, or with those in ``.grad``."""
        if gradients is not None:
            for parameter, gradient in zip(self.parameters, gradients, strict=True):
                parameter.grad = _laid_out(gradient, parameter)
        if self._clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self._clip)
        self.optimizer.step()


class Stepper:
    """Takes the steps of one phase by the rule of :class:`kdarena.method.contract.Update`."""

    def __init__(self, hooks: Hooks, run: Run, phase: Phase, previous: dict[str, BoundUpdate] | None = None):
        self.hooks = hooks
        self.phase = phase
        self.step = Step(run, phase.name)
        self.bound: list[BoundUpdate] = []
        self.terms = StepTerms()
        self.count = 0
        """Of the steps that were taken."""
        self.strangers: list[nn.Module] = []
        """Networks that the method asked and that the run doesn't know, as far as they were seen."""
        self._span = run.task.card.recipe.averaged
        self._checked = False
        self._looked_at = False
        """Whether this step is looked at closely, which takes longer: the first of a phase, and then one in fifty."""
        self._bare: list[tuple[Name, Tensor]] | None = None
        self._student = StudentWeights(hooks.name, run.learner.student)
        if phase.process is None:
            updates = hooks.updates(phase, run)
            with hooks.guard("updates"):
                self.bound = [BoundUpdate(update, run, hooks, previous or {}) for update in updates]
        self._first = [bound for bound in self.bound if bound.update.before]
        self._joint = [bound for bound in self.bound if not bound.update.before]
        self._after = [bound.update.after for bound in self.bound if bound.update.after is not None]
        self._trained = frozenset[int]().union(*(bound.ids for bound in self.bound))
        self._captured: CapturedSteps | None = None
        if hooks.capture is not None:
            reason = next((bound.reason for bound in self.bound if bound.reason is not None), None)
            self._captured = CapturedSteps(hooks.capture, self.terms, run.task.device, reason)

    def take(self, batch: Batch | None, progress: float, run_progress: float) -> None:
        """One step on one batch."""
        self.step.set_progress(progress, run_progress)
        for bound in self.bound:
            bound.set_rate(progress)
        if self._captured is None:
            self.renew(batch)
            self.eager()
        else:
            self._captured.take(self, batch)
            if self._captured.reason is not None:
                self.hooks.eager[self.phase.name] = self._captured.reason
        self.count += 1
        if self._span and self.phase.process is None:
            self._average(run_progress)

    def _average(self, run_progress: float) -> None:
        student = self.step.run.learner.student
        if self.hooks.average is None or self.hooks.average.network is not student:
            self.hooks.average = Average(student, self._span)
        self.hooks.average.add(run_progress)

    def read_terms(self) -> Mapping[Name, list[tuple[int, float]]]:
        """Number of the step and value of each term since the last look, by update and term: one synchronisation."""
        return self.terms.read()

    def renew(self, batch: Batch | None) -> None:
        """Make it the next step, on this batch."""
        self.step.take_up(batch)

    def eager(self) -> None:
        """Take the step, and in the first of a phase and one in fifty look at what the method's code does."""
        self._looked_at = self.count % STRIDE == 0
        if self._looked_at:
            with strangers(self.step.run, self._trained) as called:
                self._take()
            self.strangers += called
        else:
            self._take()
        self._checked = True

    def bare(self) -> list[tuple[Name, Tensor]]:
        """Take the step as it is captured, without any look; returns its terms."""
        self._looked_at = False
        terms = self._bare = []
        try:
            self._take()
        finally:
            self._bare = None
        return terms

    def drop(self) -> None:
        """Let go of all that the step computed: outputs and gradients."""
        self.step.drop()
        for bound in self.bound:
            bound.clear()

    def values(self) -> Mapping[str, Any]:
        """What the method and its networks keep in Python."""
        run = self.step.run
        return python_values(self.hooks.instance, (*run.learner.modules(), *run.teacher_modules()))

    def _take(self) -> None:
        step = self.step
        if self.phase.process is not None:
            process = self.phase.process
            with torch.no_grad():
                self._student.kept("process", lambda: process(step), by_value=self._looked_at)
        elif len(self._joint) == 1 and not self._first:
            self._take_single(self._joint[0])
        else:
            self._take_several()
        for after in self._after:
            self._student.kept("after", partial(after, step), by_value=self._looked_at)

    def _take_single(self, bound: BoundUpdate) -> None:
        total = self._loss(bound)
        bound.clear()
        total.backward(inputs=bound.parameters)
        if not self._checked:
            self._check_gradients(bound, [parameter.grad for parameter in bound.parameters])
        bound.step()

    def _take_several(self) -> None:
        for bound in self._first:
            for _ in range(bound.update.repeat):
                gradients = self._gradients(bound, self._loss(bound), retain=True)
                bound.step(gradients)
                self.step.forget(bound.ids)
        # all losses and gradients at the same weights, and only then the steps
        totals = [self._loss(bound) for bound in self._joint]
        last = len(totals) - 1
        gradients_of = [self._gradients(bound, total, retain=position < last) for position, (bound, total) in enumerate(zip(self._joint, totals, strict=True))]
        for bound, gradients in zip(self._joint, gradients_of, strict=True):
            bound.step(gradients)

    def _gradients(self, bound: BoundUpdate, total: Tensor, *, retain: bool) -> tuple[Tensor | None, ...]:
        gradients = torch.autograd.grad(total, bound.parameters, retain_graph=retain, allow_unused=True)
        if not self._checked:
            self._check_gradients(bound, gradients)
        return gradients

    def _loss(self, bound: BoundUpdate) -> Tensor:
        self.step.update = bound.name
        terms = self._student.kept("loss", lambda: self.hooks.loss(self.step), by_value=self._looked_at)
        if not self._checked:
            self.hooks.check_terms(terms, bound.name)
        total: Tensor | None = None
        for name, term in terms.items():
            total = term if total is None else total + term
            if self._bare is None:
                self.terms.add((bound.name, name), self.count, term.detach())
            else:
                self._bare.append(((bound.name, name), term.detach()))
        if total is None or not total.requires_grad:
            raise MethodError(self.hooks.name, "loss", f"the terms of update {bound.name!r} have no gradient; did the method detach or use no_grad?")
        return total

    def _check_gradients(self, bound: BoundUpdate, gradients: Sequence[Tensor | None]) -> None:
        without = sum(gradient is None for gradient in gradients)
        if without and not bound.update.optional:
            raise MethodError(
                self.hooks.name,
                "loss",
                f"{without} of {len(gradients)} parameters of update {bound.name!r} get no gradient in phase {self.phase.name!r}; "
                "train them, leave them out of the update, or mark it optional",
            )


class CountedUpdates:
    """How often the optimisers of a phase have stepped on which parameters; keeps no network alive that the method lets go."""

    def __init__(self, stepper: Stepper):
        """
        Args:
            stepper: that has taken the steps of the phase.
        """
        times = Counter[int]()  # in each step, by parameter
        for bound in stepper.bound:
            times.update(dict.fromkeys(bound.ids, bound.update.repeat if bound.update.before else 1))
        parameters = {id(parameter): parameter for bound in stepper.bound for parameter in bound.parameters}
        self._times = [(weakref.ref(parameter), times[key]) for key, parameter in parameters.items()]
        self._steps = stepper.count

    def of(self, network: nn.Module) -> int:
        """Steps of an optimiser on a network's own parameters; of several optimisers for parts of it, that with most steps counts."""
        own = {id(parameter) for parameter in network.parameters()}
        return self._steps * max((times for parameter, times in self._times if id(parameter()) in own), default=0)


def _laid_out(gradient: Tensor | None, parameter: nn.Parameter) -> Tensor | None:
    """A gradient in the memory layout of its parameter, as ``backward`` leaves it and ``autograd.grad`` does not.

    Fused optimisers read both as flat memory and look at no strides (torch 2.13): of a transposed gradient, or one in
    channels_last, each weight would get that of another.
    """
    if gradient is None or gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def _unique(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    return list({id(parameter): parameter for parameter in parameters}.values())
