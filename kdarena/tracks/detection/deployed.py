"""A detector as it is used without kdarena: its decoding is a part of it, and the suppression of overlapping boxes is its user's, by a program that lies with it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from kdarena.tracks.deployed import Deployed, FromPixels, images_of
from kdarena.tracks.detection.decode import Decoding, corners, scores_of_classes
from kdarena.tracks.detection.targets import Places
from kdarena.tracks.segmentation.files import FILLING

if TYPE_CHECKING:
    from kdarena.tracks.detection.data import BoxSet


class FromImages(FromPixels):
    """Images with pixels from 0 to 1 [B, 3, H, W] to what is at each place [B, P, 4 + C]: the four sides of its box in pixels, and the score of each class."""

    def __init__(self, network: nn.Module, data: BoxSet, places: Places):
        super().__init__(network, data.mean, data.std)
        for field in dataclasses.fields(Places):
            self.register_buffer(field.name, getattr(places, field.name))

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] to [B, P, 4 + C]."""
        logits, boxes = self.network(images * self.factor + self.summand)
        places = Places(*(self.get_buffer(field.name) for field in dataclasses.fields(Places)))
        scores = scores_of_classes(logits.float(), boxes[:, 4].float())
        return torch.cat([corners(boxes[:, :4].float(), places), scores.transpose(1, 2)], dim=2)


def deployed(network: nn.Module, data: BoxSet, places: Places) -> Deployed:
    """A detector of a data set for images of the size at which it is tested.

    Args:
        places: of such images, on the CPU.
    """
    (height, width), channels = data.test.size, len(data.mean)
    preparation = {"size": [height, width], "channels": channels, "peak": 255.0, "mean": list(data.mean), "std": list(data.std), "filling": list(FILLING)}
    config = {"preparation": preparation, "labels": list(data.classes), "decoding": dataclasses.asdict(Decoding())}
    program = FromImages(network, data, places).eval()
    return Deployed(program, images_of((channels, height, width)), {"images": {0: "batch"}}, config, "boxes", onnx_loader="boxes_onnx")
