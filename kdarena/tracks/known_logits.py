"""A teacher that is known by its logits alone: a table of them, sample by sample, in the place of a network."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from torch import Tensor, nn

from kdarena.errors import NotApplicable
from kdarena.tracks.values import Batch, Outputs, Part
from kdarena.tracks.weight_files import content_of


class KnownLogits(nn.Module):
    """Logits of samples; it can't be called, since nobody knows what it answers to other inputs.

    Args:
        train: of the train half, the validation part included [N, C]; of a run's teacher, of what the run trains on, in the order of ``Batch.index``.
        test: of the test half [M, C]; None: not known.
    """

    train_logits: Tensor
    test_logits: Tensor

    def __init__(self, train: Tensor, test: Tensor | None = None):
        super().__init__()
        self.register_buffer("train_logits", train.float())
        self.register_buffer("test_logits", train.new_empty(0, train.shape[1]).float() if test is None else test.float())

    @classmethod
    def of_file(cls, path: Path) -> Self:
        """What was kept of one by :func:`kdarena.tracks.checkpoints.save`."""
        kept = content_of(path)
        return cls(kept["train_logits"], kept["test_logits"])

    @property
    def classes(self) -> int:
        """C."""
        return self.train_logits.shape[1]

    def knows(self, part: Part) -> bool:
        """Whether the logits of a part are known."""
        return part != "test" or len(self.test_logits) > 0

    def on(self, part: Part, rows: Tensor) -> Outputs:
        """Its outputs on the samples at rows of the half that a part is in, on the CPU."""
        return Outputs((self.test_logits if part == "test" else self.train_logits).cpu()[rows])

    def trained_on(self, rows: Tensor) -> Self:
        """What a run may see of it: the logits of its training part, whose rows are given."""
        return type(self)(self.train_logits[rows.to(self.train_logits.device)])

    def answer(self, batch: Batch) -> Outputs:
        """Its outputs on a batch of a run, whatever the augmentation."""
        return Outputs(self.train_logits.index_select(0, batch.index))

    def forward(self, inputs: Tensor, **arguments: object) -> Tensor:
        """Refused."""
        raise NotApplicable("it asks the teacher for more than its logits on training samples as they are drawn, and only those are known (--teacher-logits)")
