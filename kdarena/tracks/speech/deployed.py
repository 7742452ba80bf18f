"""A recogniser as it is used without kdarena.

Torch's exporter unrolls a recurrent layer over the length of its example, so a recogniser is no program for utterances of any length: it leaves as the
source of its network with its weights, and is called position by position.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from torch import Tensor, nn

from kdarena.tracks.deployed import EXAMPLES, Deployed
from kdarena.tracks.speech import features, models
from kdarena.tracks.speech.architectures import Architecture
from kdarena.tracks.speech.data import SpeechData

NO_PROGRAM = "torch's exporter unrolls recurrent layers over one length, so recognisers are no programs"


class _FromFeatures(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor, decoder_inputs: Tensor) -> Tensor:
        """Features [B, T, 1 + F] and the tokens before each position [B, L] to scores [B, L, C]."""
        scores: Tensor = self.network(inputs, decoder_inputs)[0]
        return scores.float()


def deployed(network: nn.Module, size: Architecture, data: SpeechData, deviation: Tensor) -> Deployed:
    """A recogniser with what makes features of audio and text of tokens.

    Args:
        size: of its layers.
        data: whose features and tokens it knows.
        deviation: what centred features are divided by [F].
    """
    vocabulary, random = data.vocabulary, torch.Generator().manual_seed(0)
    inputs = []
    for count in EXAMPLES:
        heard = torch.randn(count, 12 * count, 1 + len(deviation), generator=random)
        heard[..., 0] = 1
        tokens = torch.randint(vocabulary.end, (count, 2 + count), generator=random)
        tokens[:, 0] = vocabulary.start
        inputs.append({"inputs": heard, "decoder_inputs": tokens})
    window = round(features.WINDOW_SECONDS * data.rate)
    transform = 1 << (window - 1).bit_length()
    config = {
        "labels": list(vocabulary.tokens),
        "separator": vocabulary.separator,
        "end": vocabulary.end,
        "start": vocabulary.start,
        "rate": data.rate,
        "window": window,
        "hop": round(features.HOP_SECONDS * data.rate),
        "transform": transform,
        "stacked": features.STACKED,
        "floor": features.FLOOR,
        "features": len(deviation),
        "classes": vocabulary.classes,
        "layers": dataclasses.asdict(size),
    }
    sound = {"mel": torch.from_numpy(features.mel_filters(data.rate, data.bands, transform // 2 + 1)), "deviation": deviation.cpu()}
    varying = {"inputs": {0: "batch", 1: "frames"}, "decoder_inputs": {0: "batch", 1: "length"}}
    return Deployed(_FromFeatures(network).eval(), inputs, varying, config, "speech", {"features.pt": sound}, Path(models.__file__), NO_PROGRAM)
