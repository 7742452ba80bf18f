"""Which samples make up a part of a task, and in what order they are trained on: all follow from a run's seed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kdarena.seeds import derive
from kdarena.tracks.values import Part, Split


@dataclass(frozen=True)
class Parts:
    """How two lists of samples are divided into training, validation and test parts.

    Attributes:
        train: samples of the list ``train``, those of the validation part included.
        validation: how many of them are held out.
        test: samples of the list ``test``.
        fixed_validation: the last samples of ``train`` are the validation part, as the data set's authors say; otherwise each seed
            holds out others. Under ``published`` a fixed part is left out all the same.
    """

    train: int
    validation: int
    test: int
    fixed_validation: bool = False

    def rows(self, part: Part, split: Split) -> Tensor:
        """Rows of the list that make up a part [N], in ascending order; ``published`` leaves no validation part."""
        if part == "test":
            return torch.arange(self.test)
        held_out = 0 if split.protocol == "published" else self.validation
        if self.fixed_validation:
            end = self.train - self.validation
            return torch.arange(end) if part == "train" else torch.arange(end, end + held_out)
        order = torch.randperm(self.train, generator=generator(split.seed, "split"))
        return (order[:held_out] if part == "validation" else order[held_out:]).sort().values

    @property
    def trained_on(self) -> int:
        """Samples of the list ``train``, from its first on, that some split trains on."""
        return self.train - self.validation if self.fixed_validation else self.train

    def key(self, part: Part, split: Split) -> tuple[Part, Split | None]:
        """Names the samples of a part: test, and all parts where validation is fixed, are the same for every split."""
        return part, None if part == "test" or self.fixed_validation else split


def samples_a_pass(count: int, batch_size: int, augmented: bool) -> int:
    """Samples of one pass over ``count``: in augmented training an incomplete last batch is dropped, unless it is the only one."""
    return count // batch_size * batch_size if augmented and count >= batch_size else count


def generator(seed: int, *purpose: object) -> torch.Generator:
    """A generator for one purpose alone, on the CPU, so that a seed means the same on every device."""
    return torch.Generator().manual_seed(derive(seed, *purpose))
