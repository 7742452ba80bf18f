"""Sizes of encoders by name: ``bert-LAYERS`` at BERT-base's width, and ``bert-LAYERS-WIDTH``; needs no torch."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

BASE_WIDTH = 768
HEAD_WIDTH = 64
FEWEST_HEADS = 4
DROPOUT = 0.1
"""BERT's, of hidden states and of attention probabilities."""
NARROW = 128
"""Encoders of less width have no dropout: they fit too little, not too well."""
BASE_STD = 0.02
"""Of BERT-base's initial weights."""
_NAME = re.compile(r"bert-(?P<layers>[1-9]\d?)(-(?P<width>[1-9]\d{1,3}))?")


@dataclass(frozen=True)
class Architecture:
    """Size of an encoder.

    Attributes:
        layers: N.
        width: D of the hidden states; the feed-forward layers have 4 D.
        heads: of attention: one for each 64 channels as in BERT's published sizes, but four at least.
        dropout: of hidden states and of attention probabilities in training.
    """

    layers: int
    width: int
    heads: int
    dropout: float

    @property
    def initial_std(self) -> float:
        """Standard deviation of the initial weights: BERT-base's, scaled so that sums over the width are as large."""
        return BASE_STD * math.sqrt(BASE_WIDTH / self.width)


def architecture(name: str) -> Architecture:
    """The architecture of that name.

    Raises:
        ValueError: in one line: there is none.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError(f"unknown architecture {name!r}; known: bert-LAYERS (width {BASE_WIDTH}) and bert-LAYERS-WIDTH, as bert-6 and bert-4-256")
    width = int(found["width"] or BASE_WIDTH)
    heads = max(FEWEST_HEADS, width // HEAD_WIDTH)
    if width % heads:
        raise ValueError(f"architecture {name!r}: {heads} heads of attention don't divide a width of {width}")
    return Architecture(int(found["layers"]), width, heads, 0.0 if width < NARROW else DROPOUT)
