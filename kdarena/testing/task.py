"""A task that is learnt in a few steps: noisy images around one random prototype a class, and networks of three stages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from kdarena.tracks.branch import Branch, cut
from kdarena.tracks.capture import plain_outputs
from kdarena.tracks.card import TaskCard
from kdarena.tracks.parts import generator
from kdarena.tracks.recipe import Recipe
from kdarena.tracks.task import Task
from kdarena.tracks.values import Batch, Half, Outputs, Setting, Split
from kdarena.tracks.views import Views, fixed_or

SIDE = 8
ARCHITECTURES: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "toy-teacher": ((6, 8, 10), (1, 2, 1)),
    "toy-student": ((3, 4, 6), (1, 2, 1)),
    "toy-coarse": ((3, 4, 6), (1, 2, 2)),
}
"""Channels and strides of the three stages."""


class ToyNetwork(nn.Module):
    """Three stages of convolution, batch norm and ReLU; average pooling; a linear head."""

    taps = (("stage1", "stages.0"), ("stage2", "stages.1"), ("stage3", "stages.2"))

    def __init__(self, widths: Sequence[int], strides: Sequence[int], classes: int, dropout: float = 0.0):
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(dropout))
            for before, width, stride in zip((1, *widths), widths, strides, strict=False)
        )
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 1, 8, 8] to logits [B, C]."""
        for stage in self.stages:
            x = stage(x)
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


class ToyTask(Task):
    """Noisy images around one random prototype a class; every seed has the same validation part."""

    def __init__(self, card: TaskCard, setting: Setting):
        super().__init__(card, setting, fixed_validation=True)
        random = torch.Generator().manual_seed(0)
        self._prototypes = torch.randn(card.classes, 1, SIDE, SIDE, generator=random)
        self._views = fixed_or(Views(_noise), _noise, self.parts.train, setting.views)
        self._samples: dict[Half, tuple[Tensor, Tensor]] = {"train": self.draw(self.parts.train, random), "test": self.draw(self.parts.test, random)}

    def draw(self, count: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Inputs [count, 1, 8, 8] and labels [count] of one half of the data, on the device."""
        targets = torch.randint(self.classes, (count,), generator=random)
        inputs = self._prototypes[targets] + 0.7 * torch.randn(count, 1, SIDE, SIDE, generator=random)
        return inputs.to(self.device), targets.to(self.device)

    def without_test(self) -> Self:
        """See :meth:`Task.without_test`."""
        bare = super().without_test()
        bare._samples = {"train": self._samples["train"]}
        return bare

    def batch(self, half: Half, rows: Tensor, positions: Tensor, random: torch.Generator | None) -> Batch:
        """See :meth:`Task.batch`; augmentation is a little noise."""
        noise, view = (None, None) if random is None else self._views.drawn(rows, random)
        return self._noisy(half, rows, positions, noise, view if half == "train" else None)

    def seen(self, rows: Tensor, numbers: Tensor) -> Batch:
        """See :meth:`Task.seen`."""
        return self._noisy("train", rows, rows, self._views.numbered(rows, numbers), None)

    def _noisy(self, half: Half, rows: Tensor, positions: Tensor, noise: Tensor | None, view: Tensor | None) -> Batch:
        inputs, targets = (tensor[rows.to(self.device)] for tensor in self._samples[half])
        if noise is not None:
            inputs = inputs + 0.1 * noise.to(inputs)
        return Batch(inputs, targets, positions.to(self.device), view=None if view is None else view.to(self.device))

    def one_batch(self) -> Batch:
        """The first sample of train."""
        first = torch.zeros(1, dtype=torch.long)
        return self.batch("train", first, first, None)

    def targets(self, split: Split) -> Tensor:
        """See :meth:`Task.targets`."""
        return self.part_targets("train", split).to(self.device)

    def auxiliary(self, split: Split) -> Iterator[Tensor]:
        """Noise without a class."""
        random = generator(split.seed, "toy", "auxiliary")
        while True:
            yield torch.randn(self.card.recipe.batch_size, 1, SIDE, SIDE, generator=random).to(self.device)

    @property
    def pixel_std(self) -> Tensor:
        """As if pixels had been divided by 0.5."""
        return torch.full((1, 1, 1), 0.5, device=self.device)

    def new_network(self, architecture: str, *, dropout: float = 0.0) -> nn.Module:
        """A toy network."""
        return ToyNetwork(*ARCHITECTURES[architecture], self.classes, dropout).to(self.device)

    def answer(self, network: nn.Module, inputs: Tensor, **arguments: Any) -> Outputs:
        """See :meth:`Task.answer`; a network answers with logits, or with (logits, exits, exit embeddings)."""
        return plain_outputs(*self.captured(network, inputs, **arguments))

    def branch(self, network: nn.Module, after: str, blocks: int | None = None) -> Branch:
        """See :meth:`Task.branch`."""
        return cut(network, after, blocks)


def _noise(count: int, random: torch.Generator) -> Tensor:
    return torch.randn(count, 1, SIDE, SIDE, generator=random)


def toy_task(
    *,
    classes: int = 4,
    train: int = 72,
    batch_size: int = 16,
    teacher: str = "toy-teacher",
    student: str = "toy-student",
    views: int | None = None,
    **card: Any,
) -> ToyTask:
    """A small classification task on the CPU.

    Args:
        views: fixed augmentations of each sample, of which one is drawn every time; None: any noise.
        card: further fields of its :class:`TaskCard`.
    """
    recipe = Recipe(lr=0.05, weight_decay=5e-4, momentum=0.9, batch_size=batch_size, milestones=(0.5,), gamma=0.1, teacher_epochs=1)
    fields: dict[str, Any] = {
        "name": "toy",
        "track": "classification",
        "data_set": "toy",
        "teacher": teacher,
        "student": student,
        "classes": classes,
        "train": train,
        "validation": 16,
        "test": 16,
        "metric": "top1",
        "recipe": recipe,
        "missing": lambda data_root: None,
        "digest": lambda data_root: "0" * 16,
        "load": ToyTask,
        "embedded": True,
        "pixels": True,
        "branches": True,
        "teacher_dropout": True,
        "auxiliary": "noise",
    }
    return ToyTask(TaskCard(**{**fields, **card}), Setting(views=views))
