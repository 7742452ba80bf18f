"""A network on a whole part: its outputs on the CPU, and the metrics beyond accuracy that are made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from kdarena.tracks.classification.uncertainty import detection_metrics, softmax_scores
from kdarena.tracks.modes import evaluating
from kdarena.tracks.task import Outputs, Part

if TYPE_CHECKING:
    from kdarena.tracks.classification.task import ClassificationTask

Scores = Callable[[Outputs], Mapping[str, Tensor]]


def outputs_of(task: ClassificationTask, network: nn.Module, inputs: Iterable[Tensor]) -> Outputs:
    """Logits, exits and embedding of a network in eval mode over batches of inputs, on the CPU; no feature maps."""
    with evaluating(network):
        found = [task.forward(network, one) for one in inputs]
    embeddings = [one.embedding for one in found if one.embedding is not None]
    return Outputs(
        logits=torch.cat([one.logits for one in found]).cpu(),
        embedding=torch.cat(embeddings).cpu() if len(embeddings) == len(found) else None,
        exits=tuple(torch.cat(parts).cpu() for parts in zip(*(one.exits for one in found), strict=True)),
        exit_embeddings=tuple(torch.cat(parts).cpu() for parts in zip(*(one.exit_embeddings for one in found), strict=True)),
    )


class PartEvaluation:
    """One part for a method's report; each network is run over it once."""

    def __init__(self, task: ClassificationTask, part: Part, seed: int, protocol: str):
        self._task, self._part, self._seed, self._protocol = task, part, seed, protocol
        self._known: list[tuple[nn.Module, Outputs]] = []

    @property
    def targets(self) -> Tensor:
        """Labels [P] on the CPU."""
        return self._task.labels(self._part, self._seed, self._protocol)

    def outputs(self, network: nn.Module) -> Outputs:
        """See :class:`kdarena.Evaluation`."""
        for known, outputs in self._known:
            if known is network:
                return outputs
        found = outputs_of(self._task, network, self._task.inputs_of(self._part, self._seed, self._protocol))
        self._known.append((network, found))
        return found

    def operations(self, network: nn.Module) -> float:
        """Floating-point operations of one image's forward pass."""
        counter = FlopCounterMode(display=False)
        with evaluating(network), counter:
            self._task.forward(network, self._task.one_input())
        return float(counter.get_total_flops())


def detection(evaluation: PartEvaluation, network: nn.Module, outliers: Mapping[str, Outputs], scores: Scores | None) -> dict[str, float]:
    """How well uncertainty tells errors from hits and outliers from the part, by softmax's scores and a method's own."""
    outputs = evaluation.outputs(network)
    correct = outputs.logits.argmax(dim=1) == evaluation.targets

    def scored(one: Outputs) -> dict[str, Tensor]:
        return {**softmax_scores(one.logits), **(scores(one) if scores is not None else {})}

    return detection_metrics(scored(outputs), correct, {name: scored(one) for name, one in outliers.items()})


def gap(task: ClassificationTask, network: nn.Module, seed: int, protocol: str) -> dict[str, float]:
    """Generalisation: top-1 on the run's own training images, unaugmented, and how far test lies below it."""
    accuracy = {}
    for part in ("train", "test"):
        logits = outputs_of(task, network, task.inputs_of(part, seed, protocol)).logits
        accuracy[part] = 100 * float((logits.argmax(dim=1) == task.labels(part, seed, protocol)).double().mean())
    return {"train_top1": accuracy["train"], "generalisation": accuracy["train"] - accuracy["test"]}
