"""A trained student as it is used without kdarena: a network from what its user has to scores, and what has to be known of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

EXAMPLES = (2, 1, 3)
"""Samples of the inputs that an exported student is tried with; the first are left with it as its example."""


@dataclass(frozen=True)
class Deployed:
    """A student in the form in which it leaves.

    Attributes:
        network: in eval mode on the CPU, called with ``inputs`` in their order; gives scores [B, …].
        inputs: examples by name, of several sizes.
        varying: axes of each input that have no fixed length, with their names.
        config: what ``config.json`` says of inputs, preparation and labels; plain JSON values.
        loader: name of its program in :mod:`kdarena.tracks.elsewhere`.
        onnx_loader: the same of the program that loads it as ONNX.
        files: further files by name, as text or as tensors by name.
        source: the module that defines the network, which torch alone can import; None: it is exported as a program.
        no_program: where there is a ``source``, why.
    """

    network: nn.Module
    inputs: Sequence[Mapping[str, Tensor]]
    varying: Mapping[str, Mapping[int, str]]
    config: Mapping[str, Any]
    loader: str
    files: Mapping[str, str | Mapping[str, Tensor]] = field(default_factory=dict)
    source: Path | None = None
    no_program: str = ""
    onnx_loader: str = "onnx"

    def scores(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """What the network makes of inputs."""
        with torch.no_grad():
            scores: Tensor = self.network(*inputs.values())
        return scores


class FromPixels(nn.Module):
    """Images with pixels from 0 to 1 [B, C, H, W] to a network's scores in fp32: normalisation belongs to it.

    Args:
        network: answers with its scores, or with a tuple or a mapping of which they are the first, ``logits`` or ``out``.
        mean, std: of each channel.
    """

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.network = network
        centre, spread = (torch.tensor(values, dtype=torch.float64).view(-1, 1, 1) for values in (mean, std))
        self.register_buffer("factor", (1 / spread).float())
        self.register_buffer("summand", (-centre / spread).float())
        self.factor: Tensor
        self.summand: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C] or [B, C, h, w]."""
        return scores_of(self.network(images * self.factor + self.summand)).float()


def scores_of(answer: Any) -> Tensor:
    """The scores in what a network answers: its last exit."""
    if isinstance(answer, Mapping):
        answer = answer["logits"] if "logits" in answer else answer["out"]
    scores = answer if isinstance(answer, Tensor) else answer[0]
    assert isinstance(scores, Tensor)
    return scores


def images_of(shape: tuple[int, ...]) -> list[dict[str, Tensor]]:
    """Random images with pixels from 0 to 1 [B, C, H, W], the same every time."""
    random = torch.Generator().manual_seed(0)
    return [{"images": torch.rand(count, *shape, generator=random)} for count in EXAMPLES]


class _FromInputs(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [B, …] to scores [B, …]."""
        return scores_of(self.network(inputs)).float()


def of_inputs(network: nn.Module, one: Tensor, classes: int) -> Deployed:
    """A network that is used on inputs as it was trained on them, of which nothing more is known.

    Args:
        one: an input [1, …].
        classes: how many there are.
    """
    inputs = [{"inputs": one.cpu().expand(count, *one.shape[1:]).clone()} for count in EXAMPLES]
    config = {"labels": [str(label) for label in range(classes)]}
    return Deployed(_FromInputs(network).eval(), inputs, {"inputs": {0: "batch"}}, config, "inputs")
