"""An attention encoder-decoder: audio features and the tokens so far to scores of the next token.

As in Meng, Li, Gaur and Gong 2019 (arXiv 2001.01798): a bidirectional GRU encoder with layer norm, attention, and a GRU decoder of
two layers. There the context of a position enters the decoder at the next one, so that positions can't be computed at once; here the
first decoder layer reads the tokens alone, its states ask for contexts, and the second layer reads both (as the layers above the
first do in Wu et al. 2016, arXiv 1609.08144). So all positions are one call of each layer, and a position still sees every context
up to its own.

An exported student takes this file along, so it imports torch alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from kdarena.tracks.speech.architectures import Architecture


class Recognition(NamedTuple):
    """What a network makes of audio and of the tokens before each position.

    Attributes:
        logits: [B, L, C].
        hidden: states of the encoder [B, T, D], zero at padding: of its input layer, then of each recurrent layer.
        tokens: which of the T positions are real [B, T].
    """

    logits: Tensor
    hidden: tuple[Tensor, ...]
    tokens: Tensor


class Memory(NamedTuple):
    """What a decoder listens to: keys and values [B, T, D], and which positions are real [B, T]."""

    keys: Tensor
    values: Tensor
    real: Tensor

    def select(self, rows: Tensor) -> Memory:
        """Of the given rows of the batch [B']."""
        return Memory(*(part.index_select(0, rows) for part in self))


State = tuple[Tensor, Tensor]
"""Of the decoder's two layers behind some position, each [1, B, D]."""


class EncoderLayer(nn.Module):
    """One bidirectional GRU layer, layer norm, dropout.

    Each direction is a GRU of its own that begins at the first or at the last real frame, so padding changes nothing, and no
    length has to come back from the device.
    """

    def __init__(self, inputs: int, width: int, dropout: float):
        super().__init__()
        self.forwards = nn.GRU(inputs, width, batch_first=True)
        self.backwards = nn.GRU(inputs, width, batch_first=True)
        self.norm = nn.LayerNorm(2 * width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, frames: Tensor, reversal: Tensor) -> Tensor:
        """[B, T, inputs] to [B, T, 2 · width]; ``reversal`` [B, T] turns each utterance's real frames round."""
        there, _ = self.forwards(frames)
        back, _ = self.backwards(_reordered(frames, reversal))
        states: Tensor = self.dropout(self.norm(torch.cat([there, _reordered(back, reversal)], dim=2)))
        return states


def _reordered(frames: Tensor, order: Tensor) -> Tensor:
    return frames.gather(1, order.unsqueeze(2).expand(-1, -1, frames.shape[2]))


class Recogniser(nn.Module):
    """The network.

    Args:
        size: of its layers.
        features: F, of a stacked frame.
        classes: C, tokens and the end of a sentence; the start of a sentence has the id C.
        dropout: of every layer; None: the architecture's own.
    """

    def __init__(self, size: Architecture, features: int, classes: int, dropout: float | None = None):
        super().__init__()
        rate, width = size.dropout if dropout is None else dropout, size.width
        self.together = size.together
        self.project = nn.Linear(size.together * features, 2 * width)
        self.layers = nn.ModuleList(EncoderLayer(2 * width, width, rate) for _ in range(size.layers))
        self.key = nn.Linear(2 * width, width, bias=False)
        self.value = nn.Linear(2 * width, width)
        self.embedding = nn.Embedding(classes + 1, width)
        self.asking = nn.GRU(width, width, batch_first=True)
        self.answering = nn.GRU(2 * width, width, batch_first=True)
        self.dropout = nn.Dropout(rate)
        self.classifier = nn.Linear(2 * width, classes)

    def forward(self, inputs: Tensor, decoder_inputs: Tensor) -> Recognition:
        """Features [B, T, 1 + F], whose channel 0 is 1 at real frames, and the tokens before each position [B, L]."""
        memory, hidden = self.encode(inputs)
        logits, _ = self._decode(memory, decoder_inputs, None)
        return Recognition(logits, hidden, memory.real)

    def encode(self, inputs: Tensor) -> tuple[Memory, tuple[Tensor, ...]]:
        """What the decoder listens to, and the encoder's hidden states."""
        frames, real = self._taken_together(inputs)
        positions = torch.arange(real.shape[1], device=real.device)
        lengths = real.sum(dim=1, keepdim=True)
        reversal = torch.where(real, lengths - 1 - positions, positions)
        mask = real.unsqueeze(2)
        states = self.project(frames) * mask
        hidden = [states]
        for layer in self.layers:
            states = layer(states, reversal) * mask
            hidden.append(states)
        return Memory(self.key(states), self.value(states), real), tuple(hidden)

    def advance(self, memory: Memory, token: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One position further: from the last token [B] and the state behind it (None at the start) to logits [B, C] and the next state."""
        logits, state = self._decode(memory, token.unsqueeze(1), state)
        return logits.squeeze(1), state

    def _taken_together(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Features of ``together`` frames side by side, and which of them begin with a real one."""
        real, frames = inputs[..., 0] > 0, inputs[..., 1:]
        batch, length, features = frames.shape
        missing = -length % self.together
        frames = nn.functional.pad(frames * real.unsqueeze(2), (0, 0, 0, missing))
        return frames.view(batch, -1, self.together * features), real[:, :: self.together]

    def _decode(self, memory: Memory, decoder_inputs: Tensor, state: State | None) -> tuple[Tensor, State]:
        before, behind = state if state is not None else (None, None)
        queries, before = self.asking(self.dropout(self.embedding(decoder_inputs)), before)
        scores = queries @ memory.keys.transpose(1, 2) / math.sqrt(queries.shape[2])
        attention = scores.masked_fill(~memory.real.unsqueeze(1), -torch.inf).softmax(dim=2)
        context = attention @ memory.values
        answers, behind = self.answering(self.dropout(torch.cat([queries, context], dim=2)), behind)
        logits: Tensor = self.classifier(self.dropout(torch.cat([answers, context], dim=2)))
        return logits, (before, behind)
