"""A task at work: its data on the device, its networks, its loss and its evaluation, as the harness and a method see it."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor, nn

from kdarena.tracks.branch import Branch
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
        auxiliary: unlabelled auxiliary inputs beside them [B', …], in phases that ask for them.
    """

    inputs: Tensor
    targets: Tensor
    index: Tensor
    teacher_inputs: Tensor | None = None
    auxiliary: Tensor | None = None

    def seen_by_teacher(self) -> Batch:
        """The same samples with what teachers see as their inputs."""
        return self if self.teacher_inputs is None else replace(self, inputs=self.teacher_inputs)


class FeatureMaps(Mapping[str, Tensor]):
    """Feature maps by name in the order of the network's stages, each in fp32 when it is read.

    A map is converted at its first reading and kept, so that one that nobody reads costs nothing.
    """

    def __init__(self, maps: dict[str, Tensor]):
        self._maps = maps

    def __getitem__(self, name: str) -> Tensor:
        found = self._maps[name]
        if found.dtype != torch.float32:
            # with the gradient that the map has, whatever the mode of who reads it first
            with torch.set_grad_enabled(found.requires_grad):
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
        logits: in fp32: [B, C]; of segmentation [B, C, h, w], before they are scaled to the image; of a decoder [B, L, C].
        features: feature maps by stage, ``stage1`` … ``stageN``, [B, C_i, H_i, W_i]; of a sequence each layer's states as a map of one
            column [B, D, L, 1], zero at padding.
        embedding: what the last linear layer sees [B, D], in fp32, where there is one a sample.
        attentions: attention probabilities by layer, before dropout [B, heads, L, L], where there are any.
        exits: logits of the earlier exits, where there are any.
        exit_embeddings: what the last linear layer of each earlier exit sees [B, D].
        hidden: hidden states [B, L, D]: ``hidden[0]`` of the embeddings, ``hidden[k]`` of layer k.
        tokens: where attentions and hidden states belong to real positions and not to padding [B, L].
        counted: positions of a decoder's logits up to the end of the sentence [B, L]; None where all logits count.
        auxiliary: logits of an auxiliary head, of the same kind as ``logits``.
    """

    logits: Tensor
    features: FeatureMaps = field(default_factory=lambda: FeatureMaps({}))
    embedding: Tensor | None = None
    attentions: tuple[Tensor, ...] = ()
    exits: tuple[Tensor, ...] = ()
    exit_embeddings: tuple[Tensor, ...] = ()
    hidden: tuple[Tensor, ...] = ()
    tokens: Tensor | None = None
    counted: Tensor | None = None
    auxiliary: Tensor | None = None

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


class Evaluation(Protocol):
    """The part that is scored, as a method's ``Learner.report`` sees it."""

    @property
    def targets(self) -> Tensor:
        """Labels of its rows [P], on the CPU."""

    def outputs(self, network: nn.Module) -> Outputs:
        """A network's outputs on the whole part in eval mode, on the CPU: logits and exits of the rows [P, C] and, where a row is a
        sample, its embedding; no feature maps."""

    def operations(self, network: nn.Module) -> float:
        """Floating-point operations of one sample's forward pass."""


class Task(abc.ABC):
    """Owns data, augmentation, networks, loss and evaluation of one task on one device."""

    card: TaskCard
    setting: Setting

    decodes: bool = False
    """Whether its networks are decoders, which are fed the tokens before each position (``history``)."""

    def __init__(self) -> None:
        self.alive: Callable[[], None] = lambda: None
        """Called at every batch that is evaluated: a large part on a slow machine takes longer than a silent worker may."""

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

    def targets(self, seed: int, protocol: str) -> Tensor:
        """Labels of a run's whole training part on the device, in the order of ``Batch.index``."""
        raise ValueError(f"task {self.card.name} has no one label a sample")

    def auxiliary(self, seed: int) -> Iterator[Tensor]:
        """Endless batches of unlabelled auxiliary inputs, augmented as training inputs are."""
        raise ValueError(f"task {self.card.name} has no auxiliary inputs")

    @property
    def pixel_std(self) -> Tensor | None:
        """What pixels in [0, 1] are divided by to make inputs, [C, 1, 1] on the device; None where inputs are no images.

        Noise of σ in units of pixels is ``sigma / pixel_std`` in units of the inputs.
        """
        return None

    @abc.abstractmethod
    def new_network(self, architecture: str, *, dropout: float = 0.0) -> nn.Module:
        """A network of the named architecture on the device, initialised from torch's global generator."""

    @abc.abstractmethod
    def forward(self, network: nn.Module, inputs: Tensor, **arguments: Any) -> Outputs:
        """One call of a network, under the autocast of the setting; logits and embedding in fp32."""

    def branch(self, network: nn.Module, after: str, blocks: int | None = None) -> Branch:
        """The part of a network behind a stage, which shares its modules; with ``blocks`` only the first ones of each later stage.

        Raises:
            ValueError: its networks can't be cut, or there is no such stage.
        """
        raise ValueError(f"networks of task {self.card.name} can't be cut behind a stage")

    @abc.abstractmethod
    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The task's own loss, a scalar in fp32."""

    @abc.abstractmethod
    def rows(self, outputs: Outputs) -> tuple[Tensor, Tensor | None]:
        """Logits [P, C] of samples, pixels or tokens, and a mask [P] of those that count, or None where all do.

        Raises:
            ValueError: the task's outputs are values and no scores of classes.
        """

    def exit_rows(self, outputs: Outputs) -> list[tuple[Tensor, Tensor | None]]:
        """:meth:`rows` of the last exit, and then of a network's earlier ones, shallow to deep."""
        return [self.rows(outputs), *(self.rows(Outputs(logits=logits, counted=outputs.counted)) for logits in outputs.exits)]

    def row_targets(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """Labels of those rows [P], −100 where a row has none."""
        return targets

    def history(self, targets: Tensor) -> Tensor:
        """What a decoder is fed before each position [B, L]: the targets shifted by the start of the sentence."""
        raise ValueError(f"networks of task {self.card.name} are no decoders")

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
    def evaluate(
        self, network: nn.Module, part: Part, seed: int, protocol: str, reference: nn.Module | None = None, *, teacher_inputs: bool = False
    ) -> dict[str, float]:
        """Metrics of a network in eval mode on a part, unaugmented; with agreement and KL where a reference teacher is given.

        Args:
            teacher_inputs: score it on what teachers see, where that differs; the reference always is.
        """

    def evaluation(self, part: Part, seed: int, protocol: str) -> Evaluation:
        """A part for a method's own report."""
        raise ValueError(f"task {self.card.name} gives no whole part to a report")

    def detection(self, network: nn.Module, part: Part, seed: int, protocol: str, scores: Callable[[Outputs], Mapping[str, Tensor]] | None) -> dict[str, float]:
        """How well a network's uncertainty tells its errors on a part, and the task's outliers from the part.

        Args:
            scores: a method's own scores [P] by name, beside those of softmax.
        """
        return {}

    def further_metrics(self, group: str, network: nn.Module, seed: int, protocol: str) -> dict[str, float]:
        """Metrics of a group that the user asked for, on test."""
        raise ValueError(f"task {self.card.name} knows no group of metrics {group!r}")

    @abc.abstractmethod
    def latency_ms(self, network: nn.Module) -> float:
        """Median time of one sample's forward pass in milliseconds."""


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
