"""A network on a whole part: its outputs row by row, on the CPU, and how well its uncertainty tells its errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from kdarena.tracks.modes import evaluating
from kdarena.tracks.task import Batch, Outputs, Part, Task
from kdarena.tracks.uncertainty import detection_metrics, softmax_scores

if TYPE_CHECKING:
    from kdarena.tracks.sampled import SampledTask

Scores = Callable[[Outputs], Mapping[str, Tensor]]


def rows_of(task: Task, outputs: Outputs) -> Outputs:
    """Logits, exits and embedding of the rows that count, on the CPU: samples, pixels or tokens [P, C]."""
    (logits, mask), *earlier = task.exit_rows(outputs)

    def counted(rows: Tensor) -> Tensor:
        return (rows if mask is None else rows[mask]).cpu()

    exits = tuple(counted(rows) for rows, _ in earlier)
    embedding = outputs.embedding
    return Outputs(
        logits=counted(logits),
        embedding=embedding.cpu() if embedding is not None and len(embedding) == len(logits) else None,
        exits=exits,
        exit_embeddings=tuple(one.cpu() for one in outputs.exit_embeddings),
    )


def joined(found: Iterable[Outputs]) -> Outputs:
    """The rows of several batches one below the other."""
    every = list(found)
    embeddings = [one.embedding for one in every if one.embedding is not None]
    return Outputs(
        logits=torch.cat([one.logits for one in every]),
        embedding=torch.cat(embeddings) if len(embeddings) == len(every) else None,
        exits=tuple(torch.cat(parts) for parts in zip(*(one.exits for one in every), strict=True)),
        exit_embeddings=tuple(torch.cat(parts) for parts in zip(*(one.exit_embeddings for one in every), strict=True)),
    )


def outputs_of(task: SampledTask, network: nn.Module, batches: Iterable[Batch]) -> Outputs:
    """The rows of a network in eval mode over batches, on the CPU; no feature maps."""
    with evaluating(network):
        return joined(rows_of(task, task.answered(network, batch)) for batch in batches)


class PartEvaluation:
    """One part for a method's report; each network is run over it once."""

    def __init__(self, task: SampledTask, part: Part, seed: int, protocol: str):
        self._task, self._part, self._seed, self._protocol = task, part, seed, protocol
        self._known: list[tuple[nn.Module, Outputs]] = []
        self._targets: Tensor | None = None

    @property
    def targets(self) -> Tensor:
        """Labels of the rows that count [P] on the CPU; −100 where a row has none."""
        if self._targets is None:
            self._targets = self._task.part_targets(self._part, self._seed, self._protocol)
        return self._targets

    def outputs(self, network: nn.Module) -> Outputs:
        """See :class:`kdarena.Evaluation`."""
        for known, outputs in self._known:
            if known is network:
                return outputs
        found = outputs_of(self._task, network, self._task.part_batches(self._part, self._seed, self._protocol))
        self._known.append((network, found))
        return found

    def operations(self, network: nn.Module) -> float:
        """Floating-point operations of one sample's forward pass."""
        counter = FlopCounterMode(display=False)
        with evaluating(network), counter:
            self._task.answered(network, self._task.one_batch())
        return float(counter.get_total_flops())


def detection(evaluation: PartEvaluation, network: nn.Module, outliers: Mapping[str, Outputs], scores: Scores | None) -> dict[str, float]:
    """How well uncertainty tells errors from hits and outliers from the part, by softmax's scores and a method's own."""
    outputs, targets = evaluation.outputs(network), evaluation.targets
    labelled = targets >= 0

    def scored(one: Outputs) -> dict[str, Tensor]:
        return {**softmax_scores(one.logits), **(scores(one) if scores is not None else {})}

    if not bool(labelled.all()):
        embedding = None if outputs.embedding is None else outputs.embedding[labelled]
        outputs = Outputs(outputs.logits[labelled], embedding=embedding, exits=tuple(one[labelled] for one in outputs.exits))
        targets = targets[labelled]
    correct = outputs.logits.argmax(dim=1) == targets
    return detection_metrics(scored(outputs), correct, {name: scored(one) for name, one in outliers.items()})
