"""All exits of a network as one module, and what each of them scores and costs."""

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from kdarena import Branch, Evaluation, Outputs, Task, losses


class MultiExit(nn.Module):
    """A network, its own exits and the branches behind its stages, in one pass.

    Args:
        task: calls the network, and shows its exits and feature maps.
        network: shared, not copied, as the branches are.
        branches: by the stage behind which they are.
        last: whether the network's own head is an exit too.
        arguments: of the network's forward pass.
    """

    def __init__(self, task: Task, network: nn.Module, branches: Mapping[str, Branch], last: bool = True, **arguments: Any):
        super().__init__()
        self.task, self.network, self.branches, self.last, self.arguments = task, network, branches, last, arguments
        self.registered = nn.ModuleList(branches.values())

    def answers(self, outputs: Outputs, call: Callable[[nn.Module, Tensor], Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """a^n [B, C] and F_n [B, D] of all exits, shallow to deep, from the network's outputs; ``call`` calls a branch, or its linear layer."""
        embeddings = [call(branch, outputs.features[stage]) for stage, branch in self.branches.items()]
        branched = [call(branch.head, embedding) for branch, embedding in zip(self.branches.values(), embeddings, strict=True)]
        logits = [*outputs.exits, *branched, *([outputs.logits] if self.last else [])]
        return logits, [*outputs.exit_embeddings, *embeddings, *([] if outputs.embedding is None else [outputs.embedding])]

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Inputs to (log of the exits' mean probability [B, C], the logits of all exits shallow to deep, no embeddings)."""
        exits, _ = self.answers(self.task.forward(self.network, x, **self.arguments), lambda module, inputs: module(inputs).float())
        return losses.log_mean_probability(exits, dim=1), tuple(exits), ()

    def up_to(self, exit: int) -> nn.Module | None:
        """The part that answers at an exit, counted from 1, and at all before it; None where it can't be had."""
        if not self.branches:
            return MultiExit(self.task, self.network, {}, until=exit) if "until" in inspect.signature(self.network.forward).parameters else None
        stages = list(self.branches)[:exit]
        if exit > len(stages):
            return self
        rest = self.task.branch(self.network, after=stages[-1])
        # a copy that does nothing behind the last of these stages
        shorter = copy.deepcopy(self.network, {id(module): nn.Identity() for module in (*rest.stages, rest.head)})
        return MultiExit(self.task, shorter, {stage: self.branches[stage] for stage in stages}, last=False)

    def anytime(self, evaluation: Evaluation) -> dict[str, float]:
        """``exitN/top1`` in percent, and ``exitN/operations`` to have that answer and those of all exits before it."""
        numbers: dict[str, float] = {}
        for n, logits in enumerate(evaluation.outputs(self).exits, start=1):
            numbers[f"exit{n}/top1"] = 100 * float((logits.argmax(dim=1) == evaluation.targets).double().mean())
            if (part := self.up_to(n)) is not None:
                numbers[f"exit{n}/operations"] = evaluation.operations(part)
        return numbers
