"""The files of an exported student's folder: its program, its configuration, an example, and what loads it."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from kdarena.files import sha256_of
from kdarena.tracks.deployed import Deployed
from kdarena.tracks.programs import write_onnx, write_program

LOADER = "load.py"


def write(folder: Path, deployed: Deployed, format: Literal["torch.export", "onnx"], facts: Mapping[str, Any]) -> None:
    """Write a student's files, all but its weights and its card.

    Args:
        facts: what the configuration says in addition to what the task says.

    Raises:
        ValueError: in one line: the student can't be exported so.
        OSError: a file can't be written.
    """
    config = {"format": format, **facts, **deployed.config, "inputs": _inputs(deployed)}
    if format == "onnx":
        config["opset"] = write_onnx(deployed, folder / "model.onnx")
        _example_of_arrays(folder, deployed)
    else:
        if deployed.source is None:
            write_program(deployed, folder / "model.pt2")
        else:
            shutil.copyfile(deployed.source, folder / "network.py")
        inputs = dict(deployed.inputs[0])
        torch.save({"inputs": inputs, "scores": deployed.scores(inputs)}, folder / "example.pt")
    for name, content in deployed.files.items():
        if isinstance(content, str):
            (folder / name).write_text(content, "utf-8")
        else:
            torch.save(dict(content), folder / name)
    write_loader(folder, deployed.onnx_loader if format == "onnx" else deployed.loader)
    config["files"] = {path.name: sha256_of(path) for path in sorted(folder.iterdir()) if path.name != LOADER}
    (folder / "config.json").write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", "utf-8")


def write_loader(folder: Path, name: str) -> None:
    """Copy the program of :mod:`kdarena.tracks.elsewhere` that loads the student."""
    found = importlib.util.find_spec(f"kdarena.tracks.elsewhere.{name}")
    assert found is not None and found.origin is not None
    shutil.copyfile(found.origin, folder / LOADER)


def _inputs(deployed: Deployed) -> dict[str, Any]:
    """Type and shape of each input, axes without a fixed length by name."""
    varying = deployed.varying
    return {
        name: {"type": str(tensor.dtype).removeprefix("torch."), "shape": [varying[name].get(axis, length) for axis, length in enumerate(tensor.shape)]}
        for name, tensor in deployed.inputs[0].items()
    }


def _example_of_arrays(folder: Path, deployed: Deployed) -> None:
    inputs = deployed.inputs[0]
    arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
    np.savez(folder / "example.npz", scores=deployed.scores(inputs).numpy(), **arrays)  # type: ignore[arg-type]
