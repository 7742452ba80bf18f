"""Import torchvision, also where its compiled operators cannot be loaded.

The package registry's torchvision wheel is built for CUDA. With a CPU build of torch its library of operators fails to
load for want of the CUDA runtime, and ``import torchvision`` then ends with ``operator torchvision::nms does not exist``:
it registers shape functions for two operators that nobody has declared. Data sets, transforms and models need neither, so
declaring the two schemas is enough to import them. The operators themselves stay without an implementation.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


@functools.cache
def import_torchvision() -> ModuleType:
    """The torchvision package; raises ``ImportError`` where it is not installed. Repeated calls cost nothing."""
    _declare_missing_schemas()
    return importlib.import_module("torchvision")


def _declare_missing_schemas() -> None:
    import torch

    _load_compiled_operators()  # first: a library that loads declares the schemas itself, and a second declaration is an error
    missing = [schema for name, schema in SCHEMAS.items() if not hasattr(torch.ops.torchvision, name)]
    if missing:
        library = _library()
        for schema in missing:
            library.define(schema)


def _load_compiled_operators() -> None:
    """Load torchvision's own library of operators if it can be loaded, as torchvision is about to do."""
    import torch

    found = importlib.util.find_spec("torchvision")
    for folder in (found.submodule_search_locations or []) if found else []:
        for path in (*Path(folder).glob("_C*.so"), *Path(folder).glob("_C*.pyd")):
            try:
                torch.ops.load_library(str(path))  # type: ignore[no-untyped-call,unused-ignore]
            except OSError:
                return  # built for another torch, or for a CUDA runtime that isn't here


@functools.cache
def _library() -> Any:
    """Declarations live as long as the object that made them, so it is kept."""
    import torch

    return torch.library.Library("torchvision", "FRAGMENT")
