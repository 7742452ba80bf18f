"""A step whose networks say what a check wants, so that a loss can be looked at as a function of logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from kdarena.execute.execute import seed_everything
from kdarena.method.step import Step
from kdarena.testing.observed import Observed
from kdarena.tracks.values import Batch, Outputs

Says = Callable[[nn.Module, Tensor], Tensor]
"""Given a network and the logits that it would say, those that it says."""


class ProbeStep(Step):
    """A step in which networks say other logits: leaves of the graph, so that gradients on them can be read.

    Attributes:
        said: the logits that each network said, by its id.
    """

    __slots__ = ("_says", "said")

    def __init__(self, seen: Observed, phase: str, says: Says):
        super().__init__(seen.run, phase)
        self._says = says
        self.said: dict[int, Tensor] = {}

    def forward(self, network: nn.Module, inputs: Tensor | None = None, **arguments: Any) -> Outputs:
        """See :meth:`Step.forward`."""
        outputs = super().forward(network, inputs, **arguments)
        if id(network) not in self.said:
            with torch.enable_grad():
                self.said[id(network)] = self._says(network, outputs.logits.detach()).requires_grad_()
        return replace(outputs, logits=self.said[id(network)])


@dataclass
class Probed:
    """A loss, as a function of what the networks say.

    Attributes:
        values: of each term.
        gradients: of each term on each network's logits, by the network's id; what no gradient reaches is missing.
    """

    values: dict[str, float]
    gradients: dict[str, dict[int, Tensor]]


class Probe:
    """The loss of the last phase of a method that has taken a few steps."""

    def __init__(self, seen: Observed, batch: Batch):
        self.seen, self._batch = seen, batch
        run = seen.run
        self.student = run.learner.student
        self.learners = list(run.learner.modules())
        self.others = [network for network in (*run.teacher_modules(), *self.learners) if network is not self.student]
        self._phase = run.phases[-1]

    @property
    def has_loss(self) -> bool:
        """Whether the last phase has a loss."""
        return self._phase.process is None

    def __call__(self, says: Says, *, progress: float = 0.5) -> Probed:
        """The terms of all updates where the networks say this; raises what the loss raises."""
        run = self.seen.run
        seed_everything(0)
        run.generator.manual_seed(0)
        step = ProbeStep(self.seen, self._phase.name, says)
        step.renew(self._batch, progress, progress)
        values: dict[str, float] = {}
        gradients: dict[str, dict[int, Tensor]] = {}
        for update in list(run.bound) or ["student"]:
            step.update = update
            with run.hooks.guard("loss"):
                terms = run.loss(step)
            for name, term in terms.items():
                key = name if len(run.bound) < 2 else f"{update}/{name}"
                values[key], gradients[key] = float(term.detach()), {}
                reached = list(step.said.items())
                if term.requires_grad and reached:
                    given = torch.autograd.grad(term, [logits for _, logits in reached], retain_graph=True, allow_unused=True)
                    gradients[key] = {
                        network: gradient for (network, _), gradient in zip(reached, given, strict=True) if gradient is not None and bool(gradient.any())
                    }
        return Probed(values, gradients)
