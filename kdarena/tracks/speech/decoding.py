"""Greedy and beam search, batched: the encoder runs once, and each position is one call for all beams of all utterances."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from kdarena.losses import log_mean_probability
from kdarena.tracks.speech.models import Memory, Recogniser, State
from kdarena.tracks.speech.tokens import PADDING


class _Speakers:
    """Networks that decode together: the logarithm of the mean of their probabilities."""

    def __init__(self, networks: Sequence[Recogniser], inputs: Tensor, beam: int):
        rows = torch.arange(len(inputs), device=inputs.device).repeat_interleave(beam)
        self._networks = networks
        self._memories: list[Memory] = [network.encode(inputs)[0].select(rows) for network in networks]
        self._states: list[State | None] = [None] * len(networks)

    def advance(self, token: Tensor) -> Tensor:
        """Log-probabilities [B · beam, C] behind the last tokens [B · beam]."""
        every = []
        for member, (network, memory) in enumerate(zip(self._networks, self._memories, strict=True)):
            logits, self._states[member] = network.advance(memory, token, self._states[member])
            every.append(logits.float())
        return log_mean_probability(every, dim=1)

    def reorder(self, rows: Tensor) -> None:
        """Go on from other beams of the same utterances."""
        for member, state in enumerate(self._states):
            if state is not None:
                self._states[member] = (state[0].index_select(1, rows), state[1].index_select(1, rows))


@torch.no_grad()
def decode(networks: Sequence[Recogniser], inputs: Tensor, *, end: int, beam: int = 1) -> Tensor:
    """The most probable token sequences that a beam search finds; with one beam the greedy ones.

    A sequence is as long as its utterance has stacked frames at most: there its end is forced, and counts with its probability.

    Args:
        networks: decode together; in whatever mode they are.
        inputs: [B, T, 1 + F], channel 0 is 1 at real frames.
        end: id of the end of a sentence; the start of a sentence is ``end + 1``.
        beam: sequences that are kept an utterance.

    Returns:
        ids [B, L]: each row ends with ``end`` and is padded with −100.
    """
    batch, device = len(inputs), inputs.device
    limit = (inputs[..., 0] > 0).sum(dim=1, keepdim=True)
    speakers = _Speakers(networks, inputs, beam)
    first_row = torch.arange(batch, device=device).unsqueeze(1) * beam
    # all beams of an utterance begin alike: only the first one may go on
    scores = torch.full((batch, beam), -math.inf, device=device)
    scores[:, 0] = 0.0
    ended = torch.zeros(batch, beam, dtype=torch.bool, device=device)
    last = torch.full((batch, beam), end + 1, dtype=torch.int64, device=device)
    sequences = torch.empty(batch, beam, 0, dtype=torch.int64, device=device)
    while not bool(ended[:, 0].all()):
        following = speakers.advance(last.flatten()).view(batch, beam, -1)
        classes = following.shape[2]
        only_end = torch.arange(classes, device=device) == end
        forced = (sequences.shape[2] + 1 >= limit).unsqueeze(2) | ended.unsqueeze(2)
        following = following.masked_fill(forced & ~only_end, -math.inf)
        # what has ended goes on as it is
        following = following.masked_fill(ended.unsqueeze(2) & only_end, 0.0)
        scores, chosen = (scores.unsqueeze(2) + following).flatten(1).topk(beam, dim=1)
        parents, last = chosen.div(classes, rounding_mode="floor"), chosen % classes
        before, ended = sequences.gather(1, parents.unsqueeze(2).expand_as(sequences)), ended.gather(1, parents)
        sequences = torch.cat([before, last.masked_fill(ended, PADDING).unsqueeze(2)], dim=2)
        ended = ended | (last == end)
        if beam > 1:
            speakers.reorder((first_row + parents).flatten())
    return sequences[:, 0]
