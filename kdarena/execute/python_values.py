"""What a method keeps in Python, as values that can be compared: a captured step repeats none of it."""

from __future__ import annotations

import random
import sys
import types
from collections.abc import Iterable, Mapping
from typing import Any

import numpy
from torch import Tensor, nn

LONGEST = 1000
"""Items of a container that are looked at; of a longer one only their number."""
SKIPPED = {"kdarena", "torch", "numpy", *sys.stdlib_module_names}
"""Packages whose objects are not looked into: they are no method's own."""


def python_values(method: Any, networks: Iterable[nn.Module]) -> dict[str, Any]:
    """Numbers, texts and which tensors a method and its networks keep, each by the path of attributes to it; and where Python's random numbers are.

    Args:
        method: its instance, or its module of functions.
    """
    values: dict[str, Any] = {"random": hash(random.getstate()), "numpy.random": hash(str(numpy.random.get_state(legacy=False)))}
    seen = {id(method)}
    own = {name: value for name, value in vars(method).items() if not (isinstance(method, types.ModuleType) and name.startswith("__"))}
    for name, value in own.items():
        _look(value, name, values, seen)
    for network in networks:
        _look(network, type(network).__name__, values, seen)
    return values


def change(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """Why a method with these values after one step and those after the next can't be captured; None: they are the same."""
    for path in (*before, *(path for path in after if path not in before)):
        old, new = before.get(path), after.get(path)
        if type(old) is type(new) and old == new:
            continue
        if path in ("random", "numpy.random"):
            return f"it draws from Python's {path} in every step: draw from step.run.generator"
        if isinstance(old, _Held) or isinstance(new, _Held):
            return f"it keeps a tensor made in a step ({path}): update it in place"
        return f"a Python value changes from step to step ({path}: {old!r:.40}, then {new!r:.40}): keep it in a tensor"
    return None


class _Held(tuple[int, int, tuple[int, ...]]):
    """A tensor that is kept: its storage, offset and shape."""


def _look(value: Any, path: str, values: dict[str, Any], seen: set[int]) -> None:
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        values[path] = value
        return
    if isinstance(value, Tensor):
        values[path] = _Held((value.untyped_storage()._cdata, int(value.storage_offset()), tuple(value.shape)))
        return
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, (Mapping, list, tuple, set, frozenset)):
        values[f"len({path})"] = len(value)
        if len(value) <= LONGEST and not isinstance(value, (set, frozenset)):
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            for key, item in list(items):
                _look(item, f"{path}[{key!r:.40}]", values, seen)
    elif isinstance(value, nn.Module):
        for name, module in value.named_modules():
            seen.add(id(module))
            _look_into(module, f"{path}.{name}" if name else path, values, seen)
    elif type(value).__module__.partition(".")[0] not in SKIPPED:
        _look_into(value, path, values, seen)


def _look_into(holder: Any, path: str, values: dict[str, Any], seen: set[int]) -> None:
    own = getattr(holder, "__dict__", {})
    for name, value in list(own.items()):
        if not (isinstance(holder, nn.Module) and name == "_modules"):
            _look(value, f"{path}.{name}", values, seen)
