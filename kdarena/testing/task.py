"""A task that is learnt in a few steps: noisy images around one random prototype a class, and networks of three stages."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from kdarena.seeds import derive
from kdarena.tracks.branch import Branch, cut
from kdarena.tracks.card import Recipe, TaskCard
from kdarena.tracks.modes import evaluating
from kdarena.tracks.task import Batch, FeatureMaps, Outputs, Part, Setting, Shapes, Task

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
    head: nn.Module

    def __init__(self, widths: Sequence[int], strides: Sequence[int], classes: int, dropout: float = 0.0):
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(dropout))
            for before, width, stride in zip((1, *widths), widths, strides, strict=False)
        )
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """[B, 1, 8, 8] to logits, embedding and the maps by stage."""
        maps: dict[str, Tensor] = {}
        for number, stage in enumerate(self.stages, start=1):
            x = maps[f"stage{number}"] = stage(x)
        embedding = x.mean(dim=(2, 3))
        return self.head(embedding), embedding, maps


class ToyTask(Task):
    """Noisy images around one random prototype a class: learnable in a few steps."""

    def __init__(self, card: TaskCard, setting: Setting):
        self.card, self.setting = card, setting
        generator = torch.Generator().manual_seed(0)
        prototypes = torch.randn(card.classes, 1, SIDE, SIDE, generator=generator)
        self._parts: dict[str, tuple[Tensor, Tensor]] = {}
        for part, size in (("train", card.train), ("validation", card.validation), ("test", card.test)):
            targets = torch.randint(card.classes, (size,), generator=generator)
            inputs = prototypes[targets] + 0.7 * torch.randn(size, 1, SIDE, SIDE, generator=generator)
            self._parts[part] = (inputs.to(setting.device), targets.to(setting.device))

    def size(self, part: Part, seed: int, protocol: str) -> int:
        """Number of samples; every seed has the same split."""
        return len(self._parts[part][1])

    def batches(self, seed: int, protocol: str, data: Literal["augmented", "plain"]) -> Iterator[Batch]:
        """Endless batches; augmentation is a little noise."""
        inputs, targets = self._parts["train"]
        generator = torch.Generator().manual_seed(derive(seed, "toy", data))
        size = self.card.recipe.batch_size
        while True:
            order = torch.randperm(len(targets), generator=generator)
            for start in range(0, len(order), size):
                index = order[start : start + size]
                if data == "augmented" and len(index) < size:
                    break
                batch = inputs[index]
                if data == "augmented":
                    batch = batch + 0.1 * torch.randn(batch.shape, generator=generator).to(batch)
                yield Batch(batch, targets[index], index.to(self.device))

    def new_network(self, architecture: str, *, dropout: float = 0.0) -> nn.Module:
        """A toy network."""
        return ToyNetwork(*ARCHITECTURES[architecture], self.classes, dropout).to(self.device)

    def forward(self, network: nn.Module, inputs: Tensor, **arguments: Any) -> Outputs:
        """One call; a network that is not a toy answers with logits, or with (logits, exits, exit embeddings)."""
        answer = network(inputs, **arguments)
        if isinstance(answer, Tensor):
            return Outputs(answer.float())
        if isinstance(answer[1], tuple):
            return Outputs(answer[0].float(), exits=answer[1], exit_embeddings=answer[2])
        logits, embedding, maps = answer
        return Outputs(logits.float(), FeatureMaps(dict(maps)), embedding.float())

    def targets(self, seed: int, protocol: str) -> Tensor:
        """Labels of the training part."""
        return self._parts["train"][1]

    def auxiliary(self, seed: int) -> Iterator[Tensor]:
        """Noise without a class."""
        generator = torch.Generator().manual_seed(derive(seed, "toy", "auxiliary"))
        while True:
            yield torch.randn(self.card.recipe.batch_size, 1, SIDE, SIDE, generator=generator).to(self.device)

    @property
    def pixel_std(self) -> Tensor:
        """As if pixels had been divided by 0.5."""
        return torch.full((1, 1, 1), 0.5, device=self.device)

    def branch(self, network: nn.Module, after: str, blocks: int | None = None) -> Branch:
        """See :meth:`Task.branch`."""
        return cut(network, after, blocks)

    def evaluation(self, part: Part, seed: int, protocol: str) -> ToyEvaluation:
        """See :meth:`Task.evaluation`."""
        return ToyEvaluation(self, *self._parts[part])

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """Cross-entropy."""
        return functional.cross_entropy(outputs.logits, targets)

    def rows(self, outputs: Outputs) -> tuple[Tensor, None]:
        """One row a sample; all count."""
        return outputs.logits, None

    def optimizer(self, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float) -> torch.optim.Optimizer:
        """SGD."""
        return torch.optim.SGD(parameters, lr=lr, momentum=self.card.recipe.momentum, weight_decay=weight_decay)

    def curve(self, progress: float) -> float:
        """Steps at the milestones."""
        return self.card.recipe.gamma ** sum(progress >= milestone for milestone in self.card.recipe.milestones)

    def shapes(self, network: nn.Module) -> Shapes:
        """From one call in eval mode."""
        with evaluating(network):
            outputs = self.forward(network, torch.zeros(1, 1, SIDE, SIDE, device=self.device))
        assert outputs.embedding is not None
        features = {name: tuple(one.shape[1:]) for name, one in outputs.features.items()}
        return Shapes(tuple(outputs.logits.shape[1:]), features, tuple(outputs.embedding.shape[1:]))

    def evaluate(
        self, network: nn.Module, part: Part, seed: int, protocol: str, reference: nn.Module | None = None, *, teacher_inputs: bool = False
    ) -> dict[str, float]:
        """Top-1 in percent, and with a reference teacher the agreement."""
        inputs, targets = self._parts[part]
        with evaluating(network):
            predicted = self.forward(network, inputs).logits.argmax(dim=1)
        metrics = {"top1": 100 * float((predicted == targets).float().mean())}
        if reference is not None:
            with evaluating(reference):
                agreed = predicted == self.forward(reference, inputs).logits.argmax(dim=1)
            metrics["agreement"] = 100 * float(agreed.float().mean())
        return metrics

    def latency_ms(self, network: nn.Module) -> float:
        """Of one call on one sample."""
        start = time.perf_counter()
        self.shapes(network)
        return 1000 * (time.perf_counter() - start)


@dataclass(frozen=True, eq=False)
class ToyEvaluation:
    """A part for a method's report."""

    task: ToyTask
    inputs: Tensor
    targets: Tensor

    def outputs(self, network: nn.Module) -> Outputs:
        """Of the whole part in eval mode."""
        with evaluating(network):
            return self.task.forward(network, self.inputs)

    def operations(self, network: nn.Module) -> float:
        """Of one sample."""
        counter = FlopCounterMode(display=False)
        with evaluating(network), counter:
            self.task.forward(network, self.inputs[:1])
        return float(counter.get_total_flops())


def toy_task(*, classes: int = 4, train: int = 72, batch_size: int = 16, teacher: str = "toy-teacher", student: str = "toy-student", **card: Any) -> ToyTask:
    """A small classification task on the CPU; further arguments are fields of its :class:`TaskCard`."""
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
    return ToyTask(TaskCard(**{**fields, **card}), Setting())
