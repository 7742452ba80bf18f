"""A task at work: its data on the device, its networks, its loss and its evaluation, as the harness and a method see it."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from kdarena.tracks.card import TaskCard

if TYPE_CHECKING:
    from torch.optim import Optimizer

Part = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Setting:
    """Where and how a task is loaded: device, precision of module calls, and the folder of the data."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: Literal["fp32", "bf16"] = "fp32"
    data_root: str | None = None


@dataclass(frozen=True)
class Batch:
    """One batch on the device.

    Attributes:
        inputs: augmented and normalised, [B, …].
        targets: labels.
        index: position of each sample in the task's training set [B], for banks and caches.
        teacher_inputs: what teachers see where it differs (parallel audio), else None.
    """

    inputs: Tensor
    targets: Tensor
    index: Tensor
    teacher_inputs: Tensor | None = None


class FeatureMaps(Mapping[str, Tensor]):
    """Feature maps by name in the order of the network's stages, each in fp32 when it is read.

    A map is converted at its first reading and kept, so that one that nobody reads costs nothing.
    """

    def __init__(self, maps: dict[str, Tensor]):
        self._maps = maps

    def __getitem__(self, name: str) -> Tensor:
        found = self._maps[name]
        if found.dtype != torch.float32:
            found = self._maps[name] = found.float()
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._maps)

    def __len__(self) -> int:
        return len(self._maps)


@dataclass
class Outputs:
    """What a network made of its inputs.

    Attributes:
        logits: [B, C] in fp32.
        features: feature maps by stage, ``stage1`` … ``stageN``, [B, C_i, H_i, W_i].
        embedding: what the last linear layer sees [B, D], in fp32.
        attentions: attention maps by layer, where there are any.
        exits: logits of the earlier exits, where there are any.
    """

    logits: Tensor
    features: FeatureMaps = field(default_factory=lambda: FeatureMaps({}))
    embedding: Tensor | None = None
    attentions: tuple[Tensor, ...] = ()
    exits: tuple[Tensor, ...] = ()

    @property
    def feature_map(self) -> Tensor:
        """The last stage's map, before pooling: [B, C, H, W]."""
        return self.features[list(self.features)[-1]]


@dataclass(frozen=True)
class Shapes:
    """Shapes of a network's :class:`Outputs` for one sample: ``features["stage3"] == (C, H, W)``, ``embedding == (D,)``."""

    logits: tuple[int, ...]
    features: dict[str, tuple[int, ...]]
    embedding: tuple[int, ...] | None

    @property
    def feature_map(self) -> tuple[int, ...]:
        """Of the last stage's map: (C, H, W)."""
        return self.features[list(self.features)[-1]]


class Task(abc.ABC):
    """Owns data, augmentation, networks, loss and evaluation of one task on one device."""

    card: TaskCard
    setting: Setting

    @property
    def device(self) -> torch.device:
        """Where its tensors live."""
        return self.setting.device

    @property
    def classes(self) -> int:
        """The number of classes C."""
        return self.card.classes

    @abc.abstractmethod
    def size(self, part: Part, seed: int, protocol: str) -> int:
        """Number of samples of a part under a seed's split; ``published`` trains on all of train."""

    @abc.abstractmethod
    def batches(self, seed: int, protocol: str, data: Literal["augmented", "plain"]) -> Iterator[Batch]:
        """Endless training batches.

        Order and augmentation come from generators of their own, seeded by ``seed`` alone, so that nothing a method draws
        changes them. ``plain`` is unaugmented and repeats passes that include the last, smaller batch; ``augmented``
        drops it.
        """

    @abc.abstractmethod
    def new_network(self, architecture: str, *, dropout: float = 0.0) -> nn.Module:
        """A network of the named architecture on the device, initialised from torch's global generator."""

    @abc.abstractmethod
    def forward(self, network: nn.Module, inputs: Tensor, **arguments: Any) -> Outputs:
        """One call of a network, under the autocast of the setting; logits and embedding in fp32."""

    @abc.abstractmethod
    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The task's own loss, a scalar in fp32."""

    @abc.abstractmethod
    def rows(self, outputs: Outputs, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits [P, C] of samples, pixels or tokens, and a mask [P] of those that count, or None where all do."""

    @abc.abstractmethod
    def optimizer(self, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float) -> Optimizer:
        """The recipe's optimiser."""

    @abc.abstractmethod
    def curve(self, progress: float) -> float:
        """The recipe's factor on the learning rate at a progress in [0, 1)."""

    @abc.abstractmethod
    def shapes(self, network: nn.Module) -> Shapes:
        """Shapes of a network's outputs for one sample; changes neither its buffers nor any generator."""

    @abc.abstractmethod
    def evaluate(self, network: nn.Module, part: Part, seed: int, protocol: str, reference: nn.Module | None = None) -> dict[str, float]:
        """Metrics of a network in eval mode on a part, unaugmented; with agreement and KL where a reference teacher is given."""

    @abc.abstractmethod
    def latency_ms(self, network: nn.Module) -> float:
        """Median time of one sample's forward pass in milliseconds."""


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
