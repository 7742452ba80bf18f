"""A network on a whole part: its outputs row by row, on the CPU, and how well its uncertainty points out its errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdarena.tracks.samples import Samples
from kdarena.tracks.uncertainty import detection_metrics, softmax_scores
from kdarena.tracks.values import Outputs

Scores = Callable[[Outputs], Mapping[str, Tensor]]
"""A method's own uncertainty scores [P] by name, higher where a network is less sure."""


@dataclass(frozen=True)
class Measured:
    """A network on a part.

    Attributes:
        metrics: by name.
        samples: what the ranked metric is made of, sample by sample; None where the task can't say.
    """

    metrics: dict[str, float]
    samples: Samples | None = None


def counted_rows(outputs: Outputs, rows: Sequence[tuple[Tensor, Tensor | None]]) -> Outputs:
    """Logits, exits and embedding of the rows that count, on the CPU: samples, pixels or tokens [P, C].

    Args:
        rows: logits and mask of the last exit, then of the earlier ones (:meth:`kdarena.Task.exit_rows`). Where masks are weights in floating point, every row counts.
    """
    (logits, mask), *earlier = rows

    def counted(exit_logits: Tensor) -> Tensor:
        return (exit_logits[mask] if mask is not None and mask.dtype == torch.bool else exit_logits).cpu()

    embedding = outputs.embedding
    return Outputs(
        logits=counted(logits),
        embedding=embedding.cpu() if embedding is not None and len(embedding) == len(logits) else None,
        exits=tuple(counted(exit_logits) for exit_logits, _ in earlier),
        exit_embeddings=tuple(exit_embedding.cpu() for exit_embedding in outputs.exit_embeddings),
    )


def joined(batches: Iterable[Outputs]) -> Outputs:
    """The rows of several batches in one tensor."""
    every = list(batches)
    embeddings = [outputs.embedding for outputs in every if outputs.embedding is not None]
    return Outputs(
        logits=torch.cat([outputs.logits for outputs in every]),
        embedding=torch.cat(embeddings) if len(embeddings) == len(every) else None,
        exits=tuple(torch.cat(parts) for parts in zip(*(outputs.exits for outputs in every), strict=True)),
        exit_embeddings=tuple(torch.cat(parts) for parts in zip(*(outputs.exit_embeddings for outputs in every), strict=True)),
    )


class Evaluation:
    """A part that is scored, as a method's ``Learner.report`` sees it; each network is run over it once.

    Args:
        targets: gives the labels of the part's rows.
        outputs: runs a network over the part.
        operations: counts a network's operations on one sample.
    """

    def __init__(self, targets: Callable[[], Tensor], outputs: Callable[[nn.Module], Outputs], operations: Callable[[nn.Module], int]):
        self._read_targets, self._run, self._count = targets, outputs, operations
        self._known: list[tuple[nn.Module, Outputs]] = []
        self._targets: Tensor | None = None

    @property
    def targets(self) -> Tensor:
        """Labels of the rows that count [P] on the CPU; −100 where a row has none."""
        if self._targets is None:
            self._targets = self._read_targets()
        return self._targets

    def outputs(self, network: nn.Module) -> Outputs:
        """A network's outputs on the whole part in eval mode, on the CPU: logits and exits of the rows [P, C] and, where a row is a
        sample, its embedding; no feature maps."""
        for known, outputs in self._known:
            if known is network:
                return outputs
        outputs = self._run(network)
        self._known.append((network, outputs))
        return outputs

    def operations(self, network: nn.Module) -> float:
        """Floating-point operations of one sample's forward pass."""
        return float(self._count(network))


def detection(evaluation: Evaluation, network: nn.Module, outliers: Mapping[str, Outputs], scores: Scores | None) -> dict[str, float]:
    """How well uncertainty separates errors from hits, and outliers from the part, by softmax's scores and a method's own.

    Args:
        outliers: the network's outputs on each set of foreign inputs, by name.
    """
    outputs, targets = evaluation.outputs(network), evaluation.targets
    labelled = targets >= 0

    def scored(rows: Outputs) -> dict[str, Tensor]:
        return {**softmax_scores(rows.logits), **(scores(rows) if scores is not None else {})}

    if not bool(labelled.all()):
        embedding = None if outputs.embedding is None else outputs.embedding[labelled]
        outputs = Outputs(outputs.logits[labelled], embedding=embedding, exits=tuple(logits[labelled] for logits in outputs.exits))
        targets = targets[labelled]
    correct = outputs.logits.argmax(dim=1) == targets
    return detection_metrics(scored(outputs), correct, {name: scored(rows) for name, rows in outliers.items()})
