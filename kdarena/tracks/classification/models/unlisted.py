"""Networks by reference as the track uses them: built by their library, with what they show found and attached, and logits as their answer."""

from __future__ import annotations

import functools

from torch import nn

from kdarena.tracks.classification.models import taps, zoo
from kdarena.tracks.classification.models.references import Facts, Reference
from kdarena.tracks.shown import SHOWN, logits_alone

UNKNOWN_SIZE = (32, 32)
"""Height and width of the images where a network does not say what it is meant for."""


def facts(reference: Reference, classes: int, in_channels: int, image_size: tuple[int, int] | None) -> Facts:
    """What a card has to know; raises ``ValueError`` as :func:`create` does."""
    meant, mean, std = zoo.preprocessing(reference)
    found = _found(reference, classes, in_channels, image_size or meant or UNKNOWN_SIZE)
    return Facts(
        dropout=zoo.has_dropout(reference),
        feature_maps=bool(found.shown.taps),
        embedding=found.shown.head is not None,
        batch_norm=found.batch_norm or reference.kind == "onnx",
        trainable=reference.kind != "onnx",
        image_size=meant,
        mean=mean,
        std=std,
    )


def create(reference: Reference, classes: int, in_channels: int, image_size: tuple[int, int] | None, dropout: float) -> nn.Module:
    """A network on the CPU that answers with its logits alone and shows what it has to show (:class:`kdarena.tracks.shown.Shown`).

    Names and shapes of its weights are those of its library.

    Raises:
        ValueError: in one line: there is no such network, it can't be built, or it can't take such images.
    """
    size = image_size or zoo.preprocessing(reference)[0] or UNKNOWN_SIZE
    network = zoo.build(reference, classes, in_channels, size, dropout)
    setattr(network, SHOWN, _found(reference, classes, in_channels, size).shown)
    network.register_forward_hook(logits_alone)
    return network


@functools.cache
def _found(reference: Reference, classes: int, in_channels: int, size: tuple[int, int]) -> taps.Found:
    build = functools.partial(zoo.build, reference, classes, in_channels, size)
    return taps.find(str(reference), build, classes, in_channels, size, reference.taps)
