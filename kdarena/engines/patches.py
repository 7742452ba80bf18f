"""Functions that a run computes with and a plugin could replace: torch's, a few of Python's and numpy's, and kdarena's own."""

from __future__ import annotations

import builtins
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from operator import is_, itemgetter
from types import ModuleType
from typing import Any

import torch
from torch.optim import Optimizer

MODULES = (
    *("builtins", "math", "random", "time", "numpy", "numpy.random"),
    *("torch", "torch.functional", "torch.linalg", "torch.special", "torch.fft", "torch.random", "torch.amp", "torch.autograd", "torch.autograd.grad_mode"),
    *("torch.nn", "torch.nn.functional", "torch.nn.init", "torch.nn.parameter", "torch.nn.modules.module", "torch.nn.utils", "torch.nn.utils.clip_grad"),
    *("torch.optim", "torch.optim.optimizer", "torch.optim.lr_scheduler", "torch.optim.sgd", "torch.optim.adam", "torch.optim.adamw"),
)
"""Modules whose attributes are compared, as far as they are loaded; in addition to all of kdarena's own."""

WITHOUT_CLASSES = ("builtins", "math", "random", "time", "numpy", "numpy.random", "torch")
"""Of these modules the attributes alone; of the others also those of their classes, as a layer's ``forward`` and an optimiser's ``step``."""

SCALARS = (bool, int, float, str, bytes, torch.dtype)
IMMUTABLE = 1 << 8
"""Python's flag of a type whose attributes can't be set (``Py_TPFLAGS_IMMUTABLETYPE``)."""

PROFILED_STEP = Optimizer.profile_hook_step(lambda optimizer: None).__code__
"""Code of the function that torch wraps around an optimiser's ``step`` when the first of its class is made."""


class Functions:
    """The functions and constants of modules and classes as they are when this is made.

    An attribute that was changed or removed since counts. One that was added does not, since any import may add some, unless it
    hides another: one of a base class, or a function of Python's own.
    """

    def __init__(self) -> None:
        self._namespaces = [_Namespace(name, owner) for name, owner in _owners()]

    def changed(self) -> list[str]:
        """Names of what was replaced or removed since, as ``torch.nn.functional.cross_entropy``."""
        return [name for namespace in self._namespaces if not namespace.same() for name in namespace.changed()]


class _Namespace:
    """The attributes of a module or a class."""

    __slots__ = ("_count", "_name", "_names", "_owner", "_values", "_values_of", "_variables")

    def __init__(self, name: str, owner: ModuleType | type):
        self._name, self._owner = name, owner
        self._variables: Mapping[str, Any] = vars(owner)
        # a whole number of another's may be a counter
        counts = not name.startswith("kdarena")
        kept = {attribute: value for attribute, value in self._variables.items() if _is_kept(value) and not (counts and type(value) is int)}
        self._count = len(self._variables)
        self._names = tuple(kept)
        self._values = tuple(kept.values())
        self._values_of: Callable[[Any], tuple[Any, ...]] = itemgetter(*kept) if len(kept) > 1 else lambda variables: tuple(variables[key] for key in kept)

    def same(self) -> bool:
        """Whether nothing was added, replaced or removed: the quick answer, which is nearly always yes."""
        try:
            return len(self._variables) == self._count and all(map(is_, self._values, self._values_of(self._variables)))
        except KeyError:
            return False

    def changed(self) -> Iterator[str]:
        """Names of attributes that count as changed."""
        missing, known = object(), frozenset(self._names)
        for name, before in zip(self._names, self._values, strict=True):
            now = self._variables.get(name, missing)
            if now is not before and not _equal(before, now):
                yield f"{self._name}.{name}"
        # a copy: what is iterated over may grow by an import in another thread
        for name, value in list(self._variables.items()):
            if name not in known and self._hides(name, value) and _is_kept(value):
                yield f"{self._name}.{name}"

    def _hides(self, name: str, value: Any) -> bool:
        """Whether an attribute that was not there, or not a function, takes the place of one further up."""
        if isinstance(self._owner, type):
            hidden = next((vars(base)[name] for base in self._owner.__mro__[1:] if name in vars(base)), None)
            return callable(hidden) and not _equal(hidden, value) and not name.startswith("__annotat")
        return self._owner is not builtins and callable(vars(builtins).get(name)) and not name.startswith("__")


def _owners() -> Iterator[tuple[str, ModuleType | type]]:
    """Modules and classes with their names, each once."""
    names = [name for name in MODULES if name in sys.modules] + sorted(name for name in sys.modules if name.partition(".")[0] == "kdarena")
    seen: set[int] = {id(torch.Tensor)}
    yield "torch.Tensor", torch.Tensor
    for name in names:
        module = sys.modules[name]
        yield name, module
        if name in WITHOUT_CLASSES:
            continue
        for attribute, value in list(vars(module).items()):
            # a class of another package is that package's business
            own = isinstance(value, type) and value.__module__.partition(".")[0] == name.partition(".")[0]
            if own and id(value) not in seen and not value.__flags__ & IMMUTABLE:
                seen.add(id(value))
                yield f"{name}.{attribute}", value


def _is_kept(value: Any) -> bool:
    """Functions, classes, modules, descriptors and plain constants; a list or a cache may change and none of these does."""
    return callable(value) or isinstance(value, (ModuleType, property, staticmethod, classmethod, *SCALARS)) or inspect.isdatadescriptor(value)


def _equal(before: Any, now: Any) -> bool:
    """Whether two values that are not the same object are worth the same."""
    if isinstance(before, SCALARS):
        return type(before) is type(now) and bool(before == now)
    return _without_profiling(before) is _without_profiling(now)


def _without_profiling(function: Any) -> Any:
    """An optimiser's ``step`` as its class has it before torch wraps it; anything else as it is."""
    return function.__wrapped__ if getattr(function, "__code__", None) is PROFILED_STEP else function
