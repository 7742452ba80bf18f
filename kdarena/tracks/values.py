"""The values that a task, a network and a method exchange: batches, outputs, shapes, and where and how a task is loaded and split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

Part = Literal["train", "validation", "test"]
"""What a run trains on, what settings are chosen on, what is reported."""
Half = Literal["train", "test"]
"""The two lists of samples in which a data set is stored: ``train``, with the validation part in it, and ``test``."""
Protocol = Literal["validated", "published"]
"""``validated`` trains on train without the validation part, ``published`` on all of train, as many papers do."""


@dataclass(frozen=True)
class Split:
    """How a task's data are divided in a run.

    Attributes:
        seed: of the run; it says which samples are the validation part where the data set does not.
        protocol: see :data:`Protocol`.
    """

    seed: int
    protocol: Protocol = "validated"


@dataclass(frozen=True)
class Setting:
    """Where and how a task is loaded: device, precision of module calls, and the folder of the data.

    Attributes:
        made_up: load made-up data of the same shapes in the place of the task's own, for what depends on shapes alone.
        views: fixed augmentations of each training sample, of which one is drawn every time; None: any of the task's augmentation.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: Literal["fp32", "bf16"] = "fp32"
    data_root: str | None = None
    made_up: bool = False
    views: int | None = None


@dataclass(frozen=True)
class Batch:
    """One batch on the device.

    Attributes:
        inputs: augmented and normalised, [B, …].
        targets: labels; of detection boxes [B, M, 6]: x1, y1, x2, y2 in pixels of the input, class, and 1 where the box counts, 2 where it is a
            crowd region, 0 where the line is padding.
        index: position of each sample in the run's training part [B], for banks and caches.
        teacher_inputs: what teachers see where it differs (parallel audio), else None.
        auxiliary: unlabelled auxiliary inputs [B', …], in phases that ask for them.
        view: names sample and augmentation [B], the same for all seeds: the sample's row in the train half times the number of augmentations, and
            the number of its augmentation. None: of the test half, and where the augmentations are too many to be numbered.
        mixed_with, share: where each sample is mixed with another: the other's label [B], and the part of the own one [B], at least a half; else None.
    """

    inputs: Tensor
    targets: Tensor
    index: Tensor
    teacher_inputs: Tensor | None = None
    auxiliary: Tensor | None = None
    view: Tensor | None = None
    mixed_with: Tensor | None = None
    share: Tensor | None = None

    def seen_by_teacher(self) -> Batch:
        """The same samples with what teachers see as their inputs."""
        return self if self.teacher_inputs is None else replace(self, inputs=self.teacher_inputs)


class FeatureMaps(Mapping[str, Tensor]):
    """Feature maps by name in the order of the network's stages, each in fp32 when it is read.

    A map is converted at its first reading and kept, so that a map that nobody reads costs nothing.
    """

    def __init__(self, maps: dict[str, Tensor]):
        self._maps = maps

    def __getitem__(self, name: str) -> Tensor:
        feature_map = self._maps[name]
        if feature_map.dtype != torch.float32:
            # with the gradient that the map has, whatever the mode of who reads it first
            with torch.set_grad_enabled(feature_map.requires_grad):
                feature_map = self._maps[name] = feature_map.float()
        return feature_map

    def __iter__(self) -> Iterator[str]:
        return iter(self._maps)

    def __len__(self) -> int:
        return len(self._maps)


@dataclass
class Outputs:
    """What a network made of its inputs.

    Attributes:
        logits: in fp32: [B, C]; of segmentation [B, C, h, w], before they are scaled to the image; of a decoder [B, L, C]; of a detector
            at the places of its levels [B, C, P], each the logit of a sigmoid.
        features: feature maps by stage, ``stage1`` … ``stageN``, [B, C_i, H_i, W_i]; of a sequence each layer's states as a map of one
            column [B, D, L, 1], zero at padding.
        embedding: what the last linear layer sees [B, D], in fp32, where a sample has one embedding.
        attentions: attention probabilities by layer, before dropout [B, heads, L, L], where there are any.
        exits: logits of the earlier exits, where there are any.
        exit_embeddings: what the last linear layer of each earlier exit sees [B, D].
        hidden: hidden states [B, L, D]: ``hidden[0]`` of the embeddings, ``hidden[k]`` of layer k.
        tokens: where attentions and hidden states belong to real positions and not to padding [B, L].
        counted: positions of a decoder's logits up to the end of the sentence [B, L]; None where all logits count.
        auxiliary: logits of an auxiliary head, of the same kind as ``logits``.
        boxes: of a detector, in fp32 [B, 5, P]: distances from each place to the left, top, right and bottom side of its box in strides of the
            place's level, and the logit of the centre-ness.
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
    boxes: Tensor | None = None

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
