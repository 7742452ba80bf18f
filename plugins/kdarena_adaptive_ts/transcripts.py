"""Y^T: the teacher's one-best token sequence of every training utterance, decoded once and kept."""

import torch
from torch import Tensor
from torch.nn import functional

PADDING = -100
"""Follows the end of a sentence, as in the task's targets."""


class Transcripts:
    """Token sequences of N utterances, written and read by their index in the training set.

    Attributes:
        known: whether an utterance has a sequence [N].
    """

    def __init__(self, utterances: int, device: torch.device):
        self.known = torch.zeros(utterances, dtype=torch.bool, device=device)
        # how long a teacher's sequences are is known once they are decoded: the buffer grows with the longest so far
        self._tokens = torch.empty(utterances, 0, dtype=torch.int64, device=device)

    def add(self, index: Tensor, sequences: Tensor) -> None:
        """Keep sequences [B, L], padded with −100, of the utterances ``index`` [B]."""
        missing = sequences.shape[1] - self._tokens.shape[1]
        self._tokens = functional.pad(self._tokens, (0, max(0, missing)), value=PADDING)
        self._tokens[index] = functional.pad(sequences, (0, max(0, -missing)), value=PADDING)
        self.known[index] = True

    def complete(self) -> None:
        """Give each utterance without a sequence that of another, and cut the width to the longest sequence.

        A run decodes all utterances. A cost profile cuts the pass short and throws away what it trains: it needs sequences of
        the usual lengths, not the right ones.

        Raises:
            ValueError: there is no sequence at all.
        """
        known, unknown = self.known.nonzero().squeeze(1), (~self.known).nonzero().squeeze(1)
        if len(known) == 0:
            raise ValueError("no utterance was decoded: the phase 'decode' has to come first")
        self._tokens[unknown] = self._tokens[known[torch.arange(len(unknown), device=known.device) % len(known)]]
        self._tokens = self._tokens[:, : int((self._tokens != PADDING).sum(dim=1).max())]

    def __getitem__(self, index: Tensor) -> Tensor:
        """Sequences of a batch [B, L], padded with −100 to the longest of all utterances: a batch's own longest would be read back."""
        return self._tokens[index]
