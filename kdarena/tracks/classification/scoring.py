"""How far a network's accuracy falls from what it was trained on to test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from kdarena.tracks.evaluation import outputs_of

if TYPE_CHECKING:
    from kdarena.tracks.classification.task import ClassificationTask
    from kdarena.tracks.task import Part


def gap(task: ClassificationTask, network: nn.Module, seed: int, protocol: str) -> dict[str, float]:
    """Generalisation: top-1 on the run's own training images, unaugmented, and how far test lies below it."""
    parts: tuple[Part, ...] = ("train", "test")
    accuracy = {}
    for part in parts:
        logits = outputs_of(task, network, task.part_batches(part, seed, protocol)).logits
        accuracy[part] = 100 * float((logits.argmax(dim=1) == task.part_targets(part, seed, protocol)).double().mean())
    return {"train_top1": accuracy["train"], "generalisation": accuracy["train"] - accuracy["test"]}
