"""The text task: sentences, or pairs, to one of C classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from kdarena.tracks.capture import plain_outputs
from kdarena.tracks.card import TaskCard
from kdarena.tracks.deployed import Deployed
from kdarena.tracks.padding import shortened
from kdarena.tracks.task import Task
from kdarena.tracks.text import architectures, checkpoint
from kdarena.tracks.text.data import TextData, Tokens
from kdarena.tracks.text.deployed import SHORTEST, Elsewhere, deployed, save_pretrained
from kdarena.tracks.text.metrics import all_metrics
from kdarena.tracks.text.models import Encoding, load_encoder, new_encoder
from kdarena.tracks.text.vocabulary import PADDING
from kdarena.tracks.values import Batch, FeatureMaps, Half, Outputs, Setting, Split

MULTIPLE = 8
"""Of padded lengths: tensor cores want multiples of 8; and see :data:`SHORTEST`."""


class LayerMaps(FeatureMaps):
    """``layer1`` … ``layerN``: each layer's hidden states as a map of one column [B, D, L, 1], zero at padding, made when it is read."""

    def __init__(self, hidden: tuple[Tensor, ...], tokens: Tensor):
        super().__init__({f"layer{number}": states for number, states in enumerate(hidden) if number})
        self._tokens = tokens
        self._made: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._made:
            self._made[name] = (super().__getitem__(name) * self._tokens[..., None]).transpose(1, 2)[..., None]
        return self._made[name]


class Sentences:
    """A split's tokens and labels on the device, without padding."""

    def __init__(self, tokens: Tokens, device: torch.device):
        self._lengths = torch.from_numpy(tokens.lengths)
        ends = self._lengths.cumsum(dim=0)
        self._ids = torch.from_numpy(tokens.ids).to(device)
        self._starts, self._on_device = (ends - self._lengths).to(device), self._lengths.to(device)
        self._labels = torch.from_numpy(tokens.labels).to(device)

    def __len__(self) -> int:
        return len(self._lengths)

    def padded(self, rows: Tensor, like: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Ids [B, L] of int64, 0 behind the end of a sentence; and labels [B]. L is at least the longest one's length, see :data:`MULTIPLE`.

        Args:
            like: rows among which the longest is looked for; None: those that are padded.
        """
        longest, rows = int(self._lengths[rows if like is None else like].max()), rows.to(self._ids.device)
        length = max(SHORTEST, -(-longest // MULTIPLE) * MULTIPLE)
        offsets = torch.arange(length, device=rows.device)
        padding = offsets >= self._on_device[rows, None]
        places = (self._starts[rows, None] + offsets).masked_fill(padding, 0)
        return self._ids[places].long().masked_fill(padding, PADDING), self._labels[rows]

    def typical(self) -> Tensor:
        """Row of a sentence of median length [1]."""
        return self._lengths.argsort(stable=True)[len(self) // 2 : len(self) // 2 + 1]


class TextTask(Task):
    """Data, networks, loss and evaluation of one data set and one pair of encoders on one device.

    Args:
        card: of the task; its architectures are names or folders of checkpoints.
        setting: device, precision and data root.
        data: both splits.
    """

    evaluation_batch = 250

    def __init__(self, card: TaskCard, setting: Setting, data: TextData):
        super().__init__(card, setting, fixed_validation=data.fixed_validation)
        self._vocabulary, self._separator, self._overlap, self._labels = data.vocabulary, data.separator, data.overlap, data.labels
        self._elsewhere = Elsewhere(data.class_names or tuple(map(str, range(card.classes))), data.vocabulary, data.vocabulary_file, data.tokenizer_padding)
        self._halves: dict[Half, Sentences] = {"train": Sentences(data.train, setting.device), "test": Sentences(data.test, setting.device)}

    def without_test(self) -> Self:
        """See :meth:`Task.without_test`."""
        bare = super().without_test()
        bare._halves = {"train": self._halves["train"]}
        return bare

    # data
    def batch(self, half: Half, rows: Tensor, positions: Tensor, random: torch.Generator | None) -> Batch:
        """See :meth:`Task.batch`; nothing is augmented, and a batch is little longer than its longest sentence."""
        ids, labels = self._halves[half].padded(rows)
        return Batch(ids, labels, positions.to(self.device), view=rows.to(self.device) if half == "train" else None)

    def seen(self, rows: Tensor, numbers: Tensor) -> Batch:
        """See :meth:`Task.seen`."""
        ids, labels = self._halves["train"].padded(rows, like=torch.arange(self.parts.train))
        return Batch(ids, labels, rows.to(self.device), view=rows.to(self.device))

    def trimmed(self, part: str, stored: Tensor, network: nn.Module, batch: Batch) -> Tensor | None:
        """See :meth:`Task.trimmed`."""
        length, kind = batch.inputs.shape[1], part.partition("/")[0]
        lengths = {"hidden": (1,), "tokens": (1,), "features": (2,), "attentions": (2, 3)}.get(kind, ())
        return shortened(stored, lengths, length)

    def one_batch(self) -> Batch:
        """A training sentence of median length."""
        row = self._halves["train"].typical()
        return self.batch("train", row, row, None)

    @property
    def overlap(self) -> int | None:
        """See :meth:`Task.overlap`: of the texts as they are read."""
        return self._overlap

    def targets(self, split: Split) -> Tensor:
        """See :meth:`Task.targets`."""
        return self.part_targets("train", split).to(self.device)

    # networks
    def new_network(self, architecture: str, *, dropout: float = 0.0) -> nn.Module:
        """See :meth:`Task.new_network`; with ``dropout`` in the place of the architecture's own rate.

        It is initialised on the CPU, so that a seed gives the same network on every device.

        Raises:
            ValueError: in one line: no such architecture, or a folder that is no checkpoint.
        """
        rate = dropout or None
        if checkpoint.is_folder(architecture):
            return self._loaded(architecture, rate).to(self.device)
        return new_encoder(architectures.architecture(architecture), self.classes, self._vocabulary, self._separator, rate).to(self.device)

    def _loaded(self, folder: str, dropout: float | None) -> nn.Module:
        if checkpoint.config(folder)["model_type"] == "bert":
            return load_encoder(folder, self.classes, self._separator, dropout, self._labels)
        from kdarena.tracks.text.encoders import load_pretrained

        return load_pretrained(folder, self.classes, self._separator, dropout, self._labels)

    def answer(self, network: nn.Module, inputs: Tensor, **arguments: Any) -> Outputs:
        """See :meth:`Task.answer`; a network that is no encoder answers with logits, or with (logits, exits, exit embeddings)."""
        answer, _, embedding = self.captured(network, inputs, **arguments)
        if not isinstance(answer, Encoding):
            return plain_outputs(answer, FeatureMaps({}), embedding)
        tokens = inputs != PADDING
        hidden = tuple(states.float() for states in answer.hidden)
        attentions = tuple(probabilities.float() for probabilities in answer.attentions)
        return Outputs(answer.logits.float(), LayerMaps(hidden, tokens), embedding, attentions, hidden=hidden, tokens=tokens)

    def deployed(self, network: nn.Module) -> Deployed:
        """See :meth:`Task.deployed`: ids [B, L] in, scores [B, C] out."""
        return deployed(network, self._elsewhere)

    def save_for(self, library: str, network: nn.Module, folder: Path) -> str:
        """See :meth:`Task.save_for`: a classifier of sequences of transformers, with its tokenizer."""
        if library != "hf":
            return super().save_for(library, network, folder)
        save_pretrained(network, folder, self._elsewhere)
        return "hf"

    # evaluation
    def metrics(self, logits: Tensor, targets: Tensor, reference: Tensor | None) -> dict[str, float]:
        """See :func:`~kdarena.tracks.text.metrics.all_metrics`."""
        return all_metrics(logits, targets, reference)
