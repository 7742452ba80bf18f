"""Sizes of the track's encoder-decoders by name; without torch, so that cards can be read without it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """An attention encoder-decoder.

    Attributes:
        width: units of each GRU; of the encoder's in each direction.
        layers: bidirectional layers of the encoder.
        together: stacked frames that the encoder takes as one.
        dropout: in training, after each layer, where nothing else is asked for.
    """

    width: int
    layers: int
    together: int = 1
    dropout: float = 0.0


ARCHITECTURES = {
    "aed32": Architecture(width=32, layers=2, together=3, dropout=0.1),
    "aed64": Architecture(width=64, layers=2, together=2),
    "aed128": Architecture(width=128, layers=2, together=2, dropout=0.1),
    "aed256": Architecture(width=256, layers=4, together=2, dropout=0.1),
    "aed512": Architecture(width=512, layers=6, dropout=0.1),
}
"""``aed512`` is the size in Meng et al. 2019 (arXiv 2001.01798): six bidirectional layers of 512 units a direction, a decoder of two."""


def architecture(name: str) -> Architecture:
    """The size of that name.

    Raises:
        ValueError: in one line: there is none.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"unknown architecture {name!r}; known: {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]
