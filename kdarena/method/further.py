"""What a plugin can bring in addition to methods: tasks, and observers that hear of the runs of a command.

They are functions of the module that the plugin registers, marked with :data:`kdarena.hookimpl`. Several plugins can implement each.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pluggy

from kdarena.method.contract import PROJECT, MethodHooks, hookspec
from kdarena.method.origin import Origin


@dataclass(frozen=True)
class RunFacts:
    """A run as an observer hears of it.

    Attributes:
        key: names the run in the record.
        task, method: their names.
        purpose: ``teacher``, ``given``, ``tune``, ``final`` or ``control``.
        seed: of the run.
        params: the method's parameters that are not the defaults.
        budget, unit: what it may spend.
    """

    key: str
    task: str
    method: str
    purpose: str
    seed: int
    params: Mapping[str, Any]
    budget: float
    unit: str


@dataclass(frozen=True)
class ResultFacts:
    """What came of a run.

    Attributes:
        status: ``done``, or why it has no result, as ``diverged``, ``oom`` or ``error``.
        metrics: by name, as ``test/top1``.
        steps: that it took.
        seconds: of the device that it took.
        error: one line, or None.
    """

    status: str
    metrics: Mapping[str, float]
    steps: int
    seconds: float
    error: str | None


class FurtherHooks:
    """The hooks of a plugin that belong to no run of a method. An implementation names only the arguments that it needs."""

    @hookspec
    def tasks(self) -> Sequence[Callable[[], Any]]:  # type: ignore[empty-body]
        """Functions of a module that each return a :class:`kdarena.TaskCard`; ``--tasks NAME`` finds them."""

    @hookspec
    def run_started(self, run: RunFacts) -> None:
        """A run was handed to a worker."""

    @hookspec
    def evaluated(self, run: RunFacts, metrics: Mapping[str, float]) -> None:
        """A run has metrics; its record is written."""

    @hookspec
    def run_finished(self, run: RunFacts, result: ResultFacts) -> None:
        """A run has ended, well or not; its record is written."""


OBSERVERS = ("run_started", "evaluated", "run_finished")
FURTHER = ("tasks", *OBSERVERS)


def further_of(loaded: Any) -> dict[str, Any]:
    """The marked functions of a plugin, by the hook; empty where it has none.

    Raises:
        pluggy.PluginValidationError: one is misspelt, or names an argument that the hook does not have.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(MethodHooks)
    manager.add_hookspecs(FurtherHooks)
    manager.register(loaded, name="plugin")
    known = {name: found[-1].function for name in FURTHER if (found := getattr(manager.hook, name).get_hookimpls())}
    if known:
        manager.check_pending()
    return known


def unmarked(loaded: Any) -> str | None:
    """A function with the name of an observer or of ``tasks`` that would never be called, since it is not marked."""
    marked: Mapping[str, Any] = {}
    with contextlib.suppress(pluggy.PluginValidationError):
        marked = further_of(loaded)
    return next((name for name in FURTHER if callable(getattr(loaded, name, None)) and name not in marked), None)


def tasks_of(loaded: Any, origin: Origin) -> list[tuple[str, str]]:
    """Names of the tasks that a plugin brings, each with the function that gives its card, as ``MODULE:FUNCTION``.

    Raises:
        ValueError: the hook gives something else; and whatever its functions raise.
    """
    if "tasks" not in further_of(loaded):
        return []
    brought = []
    given = further_of(loaded)["tasks"]()
    if not isinstance(given, (list, tuple)) or not all(map(callable, given)):
        raise ValueError("hook 'tasks' has to return a list of functions, each of which returns a card")
    for function in given:
        name = getattr(function, "__qualname__", "")
        if not name or "<" in name:
            raise ValueError(f"hook 'tasks' gives {function!r:.60}, which can't be found by name; return functions of a module")
        module = origin.target if " " in function.__module__ else function.__module__
        brought.append((function().name, f"{module}:{name}"))
    return brought
