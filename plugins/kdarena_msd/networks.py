"""All exits of a network as one module, and what each of them scores and costs."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from kdarena import Branch, Evaluation, Outputs, Task


class MultiExit(nn.Module):
    """A network, its own exits and the branches behind its stages, in one pass.

    Args:
        answer: calls a network: the task's way to see its exits and feature maps.
        network: shared, not copied, as the branches are.
        branches: by the stage behind which they are.
        last: whether the network's own head is an exit too.
    """

    def __init__(self, answer: Callable[[nn.Module, Tensor], Outputs], network: nn.Module, branches: Mapping[str, Branch], last: bool = True):
        super().__init__()
        self.answer = answer
        self.network = network
        self.branches = nn.ModuleDict(branches)
        self.last = last

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Inputs to (log of the exits' mean probability [B, C], the logits of all exits shallow to deep, no embeddings)."""
        outputs = self.answer(self.network, x)
        branched = [cast("Branch", branch).head(branch(outputs.features[stage])).float() for stage, branch in self.branches.items()]
        exits = (*outputs.exits, *branched, *((outputs.logits,) if self.last else ()))
        mean = torch.stack([logits.log_softmax(dim=1) for logits in exits]).logsumexp(dim=0) - math.log(len(exits))
        return mean, exits, ()


class Until(nn.Module):
    """A network with exits of its own that takes ``until``, stopped at one of them."""

    def __init__(self, network: nn.Module, exit: int):
        super().__init__()
        self.network, self.exit = network, exit

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        """As the network, whose last exit is this one."""
        answer: tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]] = self.network(x, until=self.exit)
        return answer


def trunk(network: nn.Module, rest: Branch) -> nn.Module:
    """A copy of a network that does nothing behind a stage; what is behind it (``rest``) shares the network's modules."""
    skipped = {id(module) for module in (*rest.stages, rest.head)}
    paths = [path for path, module in network.named_modules() if id(module) in skipped]
    shorter = copy.deepcopy(network)
    for path in paths:
        shorter.set_submodule(path, nn.Identity())
    return shorter


def up_to(exits: MultiExit, exit: int, task: Task) -> nn.Module | None:
    """The part of a network that answers at an exit, counted from 1, and at all before it; None where it can't be had."""
    network, branches = exits.network, cast("dict[str, Branch]", dict(exits.branches.items()))
    if not branches:
        return Until(network, exit) if "until" in inspect.signature(network.forward).parameters else None
    if exit > len(branches):
        return exits
    stages = list(branches)[:exit]
    rest = task.branch(network, after=stages[-1])
    return MultiExit(exits.answer, trunk(network, rest), {stage: branches[stage] for stage in stages}, last=False)


def anytime(evaluation: Evaluation, task: Task, exits: MultiExit) -> dict[str, float]:
    """``exitN/top1`` in percent, and ``exitN/operations`` to have that answer and those of all exits before it."""
    found: dict[str, float] = {}
    for number, logits in enumerate(evaluation.outputs(exits).exits, start=1):
        found[f"exit{number}/top1"] = 100 * float((logits.argmax(dim=1) == evaluation.targets).double().mean())
        network = up_to(exits, number, task)
        if network is not None:
            found[f"exit{number}/operations"] = evaluation.operations(network)
    return found
