"""A student of images as the library that its network comes from keeps it."""

from __future__ import annotations

import copy
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdarena.tracks.deployed import scores_of
from kdarena.tracks.torchvision import import_torchvision

TOLERANCE = 1e-4
"""Largest difference of scores from the student's, relative to the largest score or to 1."""


@dataclass(frozen=True)
class Preparation:
    """What a network sees: images [C, H, W], normalised by mean and std of each channel."""

    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    labels: tuple[str, ...]


def save_timm(network: nn.Module, folder: Path, preparation: Preparation) -> None:
    """Write a network of timm as ``timm.create_model("local-dir:FOLDER")`` reads it, with preparation and labels.

    Raises:
        ValueError: in one line: what is read back gives other scores.
    """
    import_torchvision()
    hub, timm = importlib.import_module("timm.models"), importlib.import_module("timm")
    seen = {"input_size": preparation.shape, "mean": preparation.mean, "std": preparation.std, "crop_pct": 1.0}
    named = {"label_names": list(preparation.labels), "num_classes": len(preparation.labels)}
    hub.save_for_hf(network, str(folder), model_config=named, data_config=seen, safe_serialization=True)
    _compare(network, timm.create_model(f"local-dir:{folder}", pretrained=True).eval(), preparation.shape)


def save_hf(network: nn.Module, folder: Path, preparation: Preparation) -> None:
    """Write a network of transformers as ``AutoModelForImageClassification.from_pretrained`` reads it, with preparation and labels.

    Raises:
        ValueError: in one line: what is read back gives other scores.
    """
    import_torchvision()
    transformers, own = importlib.import_module("transformers"), _as_any(network)
    own.config.id2label, own.config.label2id = dict(enumerate(preparation.labels)), {label: number for number, label in enumerate(preparation.labels)}
    with redirect_stderr(StringIO()):  # bars of progress
        own.save_pretrained(folder)
        again = transformers.AutoModelForImageClassification.from_pretrained(folder, local_files_only=True).eval()
    _, height, width = preparation.shape
    seen = {"do_resize": True, "size": {"height": height, "width": width}, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}
    means = {"image_mean": list(preparation.mean), "image_std": list(preparation.std), "image_processor_type": "ViTImageProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps({**seen, **means}, indent=1) + "\n", "utf-8")
    _compare(network, again, preparation.shape)


SAVED: Mapping[str, tuple[Callable[[nn.Module, Path, Preparation], None], str]] = {"timm": (save_timm, "timm"), "hf": (save_hf, "hf_images")}
"""By library, what writes its networks, and the program that loads them."""


def save_for(library: str, student: str, network: nn.Module, folder: Path, preparation: Preparation) -> str | None:
    """Write a student that is a network of a library; returns the program that loads it, None where it is none.

    Args:
        student: its name, a reference with the library in front of a colon where it is one.
    """
    if student.partition(":")[0] != library or library not in SAVED:
        return None
    save, loader = SAVED[library]
    save(_contiguous(network), folder, preparation)
    return loader


def _contiguous(network: nn.Module) -> nn.Module:
    """A copy with its weights in the usual order: training leaves those of convolutions channels last, which safetensors refuses."""
    copied = copy.deepcopy(network)
    copied.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return copied


def _compare(network: nn.Module, again: nn.Module, shape: Sequence[int]) -> None:
    images = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted, given = _scores(network(images)), _scores(again(images))
    difference, allowed = float((wanted - given).abs().max()), TOLERANCE * max(1.0, float(wanted.abs().max()))
    if not difference <= allowed:
        raise ValueError(f"what the library reads back gives other scores: they differ by {difference:.1e}, and may by {allowed:.1e}")


def _scores(answer: Any) -> Tensor:
    return answer.logits if hasattr(answer, "logits") else scores_of(answer)


def _as_any(network: nn.Module) -> Any:
    return network
