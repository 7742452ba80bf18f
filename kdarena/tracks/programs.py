"""A deployed student as a file that runs without its source: a program of torch, or ONNX; each compared with the student before it is kept."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kdarena.tracks.deployed import Deployed

PROGRAM_TOLERANCE, ONNX_TOLERANCE = 1e-6, 1e-4
"""Largest difference of scores from the student's, relative to the largest score or to 1."""
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def write_program(deployed: Deployed, path: Path) -> None:
    """Write a student by ``torch.export``, for any number of samples.

    Raises:
        ValueError: in one line: it can't be exported, or the program gives other scores.
        OSError: it can't be written.
    """
    _prepare(deployed)
    with _quiet():
        try:
            program = torch.export.export(deployed.network, tuple(deployed.inputs[0].values()), dynamic_shapes=_varying(deployed))
            torch.export.save(program, path)
            loaded = torch.export.load(path).module()
        except OSError:
            raise
        except Exception as error:  # the exporter raises many kinds
            raise ValueError(f"the student can't be exported by torch.export: {_first_line(error)}") from error
    _compare(deployed, "the exported program", PROGRAM_TOLERANCE, lambda inputs: loaded(*inputs.values()))


def write_onnx(deployed: Deployed, path: Path) -> dict[str, int]:
    """Write a student as ONNX, for any number of samples; returns the versions of the operator sets by domain.

    Raises:
        ValueError: in one line: a package is missing, it can't be exported, or onnxruntime gives other scores.
        OSError: it can't be written.
    """
    missing = [name for name in ONNX_PACKAGES if find_spec(name) is None]
    if missing:
        raise ValueError(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed: pip install 'kdarena[onnx]'")
    import onnxruntime

    _prepare(deployed)
    with _quiet():
        try:
            program = torch.onnx.export(
                deployed.network,
                tuple(deployed.inputs[0].values()),
                input_names=list(deployed.varying),
                output_names=["scores"],
                dynamic_shapes=_varying(deployed),
                dynamo=True,
                verbose=False,
            )
            assert program is not None
            program.save(path)
            session = onnxruntime.InferenceSession(path)
        except OSError:
            raise
        except Exception as error:
            raise ValueError(f"the student can't be exported as ONNX: {_first_line(error)}") from error

        def answer(inputs: Mapping[str, Tensor]) -> Tensor:
            return torch.from_numpy(session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})[0])

        _compare(deployed, "onnxruntime", ONNX_TOLERANCE, answer)
    return dict(program.model.opset_imports)


def _prepare(deployed: Deployed) -> None:
    """Make the tables that networks keep, which are no tables where they are made while a network is traced."""
    if deployed.source is not None:
        raise ValueError(deployed.no_program)
    for inputs in deployed.inputs:
        deployed.scores(inputs)


def _varying(deployed: Deployed) -> tuple[dict[int, Any], ...]:
    return tuple(dict.fromkeys(axes, torch.export.Dim.AUTO) for axes in deployed.varying.values())


def _compare(deployed: Deployed, what: str, tolerance: float, answer: Any) -> None:
    """Raise ``ValueError`` where scores of the examples, which are of several sizes, are not the student's."""
    for inputs in deployed.inputs:
        wanted = deployed.scores(inputs)
        sizes = ", ".join("x".join(map(str, tensor.shape)) for tensor in inputs.values())
        try:
            with torch.no_grad():
                difference = float((answer(inputs) - wanted).abs().max())
        except Exception as error:
            raise ValueError(f"{what} can't take inputs of {sizes}: {_first_line(error)}") from error
        allowed = tolerance * max(1.0, float(wanted.abs().max()))
        if not difference <= allowed:
            raise ValueError(f"{what} gives other scores than the student on inputs of {sizes}: they differ by {difference:.1e}, and may by {allowed:.1e}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what exporters say of their own state; what goes wrong is raised."""
    logger = logging.getLogger("torch")
    level, kept = logger.level, logging.root.manager.disable
    with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(kept)
            logger.setLevel(level)


def _first_line(error: Exception) -> str:
    lines = (re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)[:200]
