"""The classification of a user's own pictures."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kdarena.tracks.card import TaskCard
from kdarena.tracks.classification.augment import Augmentation
from kdarena.tracks.classification.batches import Source
from kdarena.tracks.classification.crops import ResizedCrop
from kdarena.tracks.classification.data import DataSet
from kdarena.tracks.classification.selected import Images, in_memory
from kdarena.tracks.classification.task import ClassificationTask
from kdarena.tracks.metrics import balanced_accuracy
from kdarena.tracks.values import Setting

MOST_IN_MEMORY = {"cpu": 2**28, "cuda": 2**33}
"""Bytes of images that each process copies into its memory, by kind of device; more stay on disk, and in the memory that all processes share."""


class FolderTask(ClassificationTask):
    """Pictures on disk, in memory where they are few.

    Args:
        data: both splits.
        fixed_validation: whether the last samples of train are the validation part.
        overlap: test pictures that are also in train.
        unlabelled: auxiliary images [N, S, S, 3] of bytes, or None.
        weighed: whether the loss of a sample is weighed by the inverse of the size of its class in ``train``.
        left_out: files that could not be used.
    """

    def __init__(
        self,
        card: TaskCard,
        setting: Setting,
        data: DataSet,
        *,
        fixed_validation: bool = False,
        overlap: int | None = None,
        unlabelled: Images | None = None,
        weighed: bool = False,
        left_out: int = 0,
    ):
        augmentation = Augmentation(data.padding, data.flip) if data.padding else ResizedCrop(data.flip)
        super().__init__(card, setting, data, augmentation=augmentation, fixed_validation=fixed_validation)
        self._overlap = overlap
        self._unlabelled = unlabelled
        self._left_out = left_out
        counts = np.maximum(np.bincount(data.train_labels, minlength=card.classes), 1)
        weights = len(data.train_labels) / (card.classes * counts)
        self.class_weights = torch.tensor(weights, dtype=torch.float32, device=setting.device) if weighed else None

    @property
    def left_out(self) -> int:
        """See :attr:`Task.left_out`."""
        return self._left_out

    @property
    def overlap(self) -> int | None:  # type: ignore[override]
        """See :meth:`Task.overlap`; of whole files."""
        return self._overlap

    def _auxiliary_set(self) -> tuple[Source, Tensor]:
        if self._unlabelled is None:
            return super()._auxiliary_set()
        unlabelled = self._unlabelled
        return self._images(self._auxiliary, "unlabelled", lambda name, data_root: in_memory(unlabelled, most_in_memory(self.device)))

    def metrics(self, logits: Tensor, targets: Tensor, reference: Tensor | None) -> dict[str, float]:
        """See :meth:`Task.metrics`; also ``balanced_accuracy``."""
        return {**super().metrics(logits, targets, reference), "balanced_accuracy": balanced_accuracy(logits, targets)}


def most_in_memory(device: torch.device) -> int:
    """Bytes of images that a process copies into its memory."""
    return MOST_IN_MEMORY.get(device.type, MOST_IN_MEMORY["cuda"])
