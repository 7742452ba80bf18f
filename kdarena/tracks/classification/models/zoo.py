"""Builds the networks that references mean, with weights as their libraries initialise them. Nothing is downloaded."""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib.util
import inspect
import json
import warnings
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from kdarena.errors import described
from kdarena.tracks.classification.models.onnx_network import OnnxNetwork
from kdarena.tracks.classification.models.own_code import digest_of_code, module_of
from kdarena.tracks.classification.models.references import Reference
from kdarena.tracks.torchvision import import_torchvision

Size = tuple[int, int]
"""Height and width in pixels."""
WITH_AUXILIARY = ("googlenet", "inception_v3")
"""Networks of torchvision whose auxiliary classifiers are left out, as their files of weights know them."""


@functools.cache
def preprocessing(reference: Reference) -> tuple[Size | None, tuple[float, ...] | None, tuple[float, ...] | None]:
    """Size, mean and std of the images that a network is meant for, each None where its library or folder does not say."""
    if reference.kind == "torchvision":
        return _torchvision_preprocessing(reference)
    if reference.kind == "timm":
        return _timm_preprocessing(reference)
    return _hf_preprocessing(reference) if reference.kind == "hf" else (None, None, None)


def build(reference: Reference, classes: int, in_channels: int, size: Size, dropout: float = 0.0) -> nn.Module:
    """A network with a head for ``classes``, in train mode.

    Raises:
        ValueError: in one line: there is no such network, or its builder refuses the options.
    """
    if dropout and not has_dropout(reference):
        raise ValueError(f"network {reference} has no dropout: only functions of files that take dropout do")
    builder: Callable[[], nn.Module] = {
        "torchvision": lambda: _torchvision(reference, classes, in_channels, size),
        "timm": lambda: _timm(reference, classes, in_channels, size),
        "hf": lambda: _hf(reference, classes, in_channels, size),
        "file": lambda: _of_file(reference, classes, in_channels, size, dropout),
        "onnx": lambda: OnnxNetwork(Path(reference.name)),
    }[reference.kind]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a library says of its own defaults is no matter of the user's
            network = builder()
    except _Unknown as error:
        raise ValueError(str(error)) from None
    except Exception as error:  # of a library's builder or the user's own code, which may raise anything
        raise ValueError(
            f"network {reference} can't be built for {classes} classes and {in_channels} x {size[0]} x {size[1]} images: {described(error)}"
        ) from error
    if not isinstance(network, nn.Module):
        raise ValueError(f"network {reference}: gave {type(network).__name__}; it has to give a torch.nn.Module")
    return network.train()


def has_dropout(reference: Reference) -> bool:
    """Whether a network can be built with dropout: a function of a file that takes it."""
    return reference.kind == "file" and "dropout" in _parameters(_function(reference))


def digest(reference: Reference) -> str:
    """What a network is made of, beyond its reference: the library's version, the folder's configuration, the file's code."""
    if reference.kind == "file":
        return digest_of_code(reference.name)
    if reference.kind == "onnx":
        return hashlib.sha256(Path(reference.name).read_bytes()).hexdigest()[:16]
    if reference.kind == "hf":
        configuration = Path(reference.name) / "config.json"
        content = hashlib.sha256(configuration.read_bytes()).hexdigest()[:16] if configuration.is_file() else ""
        return f"{content} transformers {version('transformers')}"
    return f"{reference.kind} {version(reference.kind)}"


class _Unknown(ValueError):
    """A line for the user as it is."""


def _library(name: str, reference: Reference) -> ModuleType:
    import_torchvision()  # timm and transformers import it, and not every wheel of it can be imported without this
    if importlib.util.find_spec(name) is None:
        raise _Unknown(f"network {reference}: {name} is not installed: pip install 'kdarena[{name}]'")
    return importlib.import_module(name)


def _unknown(reference: Reference, known: Iterable[str]) -> _Unknown:
    near = difflib.get_close_matches(reference.name, list(known), 3, 0.5)
    return _Unknown(f"network {reference}: {reference.kind} has no {reference.name!r}{'; did you mean ' + ', '.join(near) + '?' if near else ''}")


def _torchvision(reference: Reference, classes: int, in_channels: int, size: Size) -> nn.Module:
    models = import_torchvision().models
    known = models.list_models(module=models)
    if reference.name not in known:
        raise _unknown(reference, known)
    options: dict[str, Any] = {}
    if reference.name in WITH_AUXILIARY:
        options |= {"aux_logits": False, "init_weights": False}
    if reference.name.startswith("vit_"):
        if size[0] != size[1]:
            raise _Unknown(f"network {reference} takes square images, not {size[0]} x {size[1]}")
        options["image_size"] = size[0]
    network: nn.Module = models.get_model(reference.name, weights=None, num_classes=classes, **{**options, **reference.arguments})
    if in_channels != 3:
        _replace_first_convolution(network, in_channels)
    return network


def _replace_first_convolution(network: nn.Module, in_channels: int) -> None:
    """Make a network take images of other than three channels."""
    path, first = next((path, module) for path, module in network.named_modules() if isinstance(module, nn.Conv2d))
    kept = {name: getattr(first, name) for name in ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")}
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, nn.Conv2d(in_channels, first.out_channels, bias=first.bias is not None, **kept))


def _torchvision_preprocessing(reference: Reference) -> tuple[Size | None, tuple[float, ...] | None, tuple[float, ...] | None]:
    models = import_torchvision().models
    if reference.name not in models.list_models(module=models):
        raise _unknown(reference, models.list_models(module=models))
    meant = models.get_model_weights(reference.name).DEFAULT.transforms()
    (side,) = set(meant.crop_size)
    return (side, side), tuple(meant.mean), tuple(meant.std)


def _timm(reference: Reference, classes: int, in_channels: int, size: Size) -> nn.Module:
    timm = _library("timm", reference)
    configuration = _timm_configuration(timm, reference)
    options = reference.arguments
    fixed = configuration is not None and configuration.fixed_input_size and tuple(configuration.input_size[1:]) != size
    network: nn.Module = timm.create_model(
        reference.name, pretrained=False, num_classes=classes, in_chans=in_channels, **({"img_size": size, **options} if fixed else options)
    )
    return network


def _timm_configuration(timm: ModuleType, reference: Reference) -> Any:
    """timm's own description of a network, or None where it has none."""
    if ":" in reference.name or not timm.is_model(reference.name):
        raise _unknown(reference, timm.list_models())
    return timm.models.get_pretrained_cfg(reference.name)


def _timm_preprocessing(reference: Reference) -> tuple[Size | None, tuple[float, ...] | None, tuple[float, ...] | None]:
    configuration = _timm_configuration(_library("timm", reference), reference)
    if configuration is None:
        return None, None, None
    asked = reference.arguments.get("img_size")
    height, width = (asked, asked) if isinstance(asked, int) else configuration.input_size[1:]
    return (height, width), tuple(configuration.mean), tuple(configuration.std)


def _hf_configuration(reference: Reference) -> Any:
    transformers = _library("transformers", reference)
    folder = Path(reference.name)
    if not (folder / "config.json").is_file():
        raise _Unknown(f"network {reference}: {folder} has no config.json; give the local folder of an image classifier of transformers")
    try:
        return transformers.AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # of any configuration's own code
        raise _Unknown(f"network {reference}: {folder / 'config.json'} can't be used: {described(error)}") from None


def _hf(reference: Reference, classes: int, in_channels: int, size: Size) -> nn.Module:
    configuration = _hf_configuration(reference)
    configuration.num_labels = classes
    if hasattr(configuration, "num_channels"):
        configuration.num_channels = in_channels
    if hasattr(configuration, "image_size"):
        configuration.image_size = size[0] if size[0] == size[1] else list(size)
    for name, value in reference.arguments.items():
        setattr(configuration, name, value)
    network: nn.Module = _library("transformers", reference).AutoModelForImageClassification.from_config(configuration)
    return network


def _hf_preprocessing(reference: Reference) -> tuple[Size | None, tuple[float, ...] | None, tuple[float, ...] | None]:
    path = Path(reference.name) / "preprocessor_config.json"
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        side = said.get("crop_size") if said.get("do_center_crop") else said.get("size")
        if isinstance(side, dict):
            side = (side["height"], side["width"]) if "height" in side else side.get("shortest_edge")
        size = (side, side) if isinstance(side, int) else side and tuple(side)
        mean, std = (tuple(map(float, said[name])) if said.get(name) else None for name in ("image_mean", "image_std"))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # a folder may have none, or one of another kind
        size = mean = std = None
    if size is None:
        side = getattr(_hf_configuration(reference), "image_size", None)
        size = (side, side) if isinstance(side, int) else None
    return size, mean, std


def _of_file(reference: Reference, classes: int, in_channels: int, size: Size, dropout: float) -> nn.Module:
    function = _function(reference)
    offered = {"in_channels": in_channels, "image_size": size, **({"dropout": dropout} if dropout else {})}
    taken = _parameters(function)
    network: nn.Module = function(classes=classes, **{name: value for name, value in offered.items() if name in taken}, **reference.arguments)
    return network


def _parameters(function: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(function).parameters)


def _function(reference: Reference) -> Callable[..., Any]:
    try:
        module = module_of(reference.name)
    except ValueError as error:
        raise _Unknown(str(error)) from None
    function: Any = getattr(module, reference.function, None)
    if not callable(function):
        near = difflib.get_close_matches(reference.function, [name for name, value in vars(module).items() if callable(value)], 3, 0.5)
        raise _Unknown(
            f"network {reference}: {reference.name} has no function {reference.function!r}{'; did you mean ' + ', '.join(near) + '?' if near else ''}"
        )
    return function  # type: ignore[no-any-return,unused-ignore]
