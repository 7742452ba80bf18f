"""Observers: plugins that hear of the runs of a command. They get copies, after what they hear of is recorded, and can change nothing."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pluggy

from kdarena.method.contract import PROJECT
from kdarena.method.discovery import listing
from kdarena.method.further import FurtherHooks, ResultFacts, RunFacts
from kdarena.method.origin import Origin, load, module_of_file, printing_to_stderr
from kdarena.method.reasons import reason
from kdarena.plan.spec import RunResult, RunSpec


class Observers:
    """The observers of a command.

    Args:
        modules: of the plugins that observe, by the words that name each.
        say: gets one line for the user.
    """

    def __init__(self, modules: Mapping[str, Any], say: Callable[[str], None]):
        self._say = say
        self._said: set[str] = set()
        self._managers: dict[str, pluggy.PluginManager] = {}
        for name, module in modules.items():
            manager = self._managers[name] = pluggy.PluginManager(PROJECT)
            manager.add_hookspecs(FurtherHooks)
            manager.register(module)

    def started(self, spec: RunSpec) -> None:
        """A run was handed to a worker."""
        self._call("run_started", lambda: {"run": facts_of(spec)})

    def finished(self, spec: RunSpec, result: RunResult) -> None:
        """A run has a result, which is recorded."""
        if result.metrics:
            self._call("evaluated", lambda: {"run": facts_of(spec), "metrics": _frozen(result.metrics)})
        self._call("run_finished", lambda: {"run": facts_of(spec), "result": result_of(result)})

    def _call(self, hook: str, given: Callable[[], Mapping[str, Any]]) -> None:
        """Call a hook of each observer; what one raises is said once, and all goes on."""
        for name, manager in self._managers.items():
            try:
                with printing_to_stderr():
                    getattr(manager.hook, hook)(**given())
            except (Exception, SystemExit) as error:
                line = f"observer {name}: hook {hook!r} failed: {reason(error)}; its runs are recorded all the same"
                if line not in self._said:
                    self._said.add(line)
                    self._say(line)


def find_observers(paths: Sequence[str], say: Callable[[str], None]) -> Observers:
    """The observers among the installed plugins and the files at ``paths``; one that can't be imported here is said and left out."""
    modules: dict[str, Any] = {}
    for known in listing(paths):
        if known.finding is None or not known.finding.observes:
            continue
        name = f"{known.origin.name} ({known.origin.distribution})"
        try:
            with printing_to_stderr():
                modules[name] = _module(known.origin)
        except (Exception, SystemExit) as error:
            say(f"observer {name} can't be imported: {reason(error)}; the command goes on without it")
    return Observers(modules, say)


def facts_of(spec: RunSpec) -> RunFacts:
    """A run as an observer hears of it."""
    return RunFacts(spec.key, spec.task, spec.method, spec.purpose, spec.seed, _frozen(spec.params), spec.budget.amount, spec.budget.unit)


def result_of(result: RunResult) -> ResultFacts:
    """What came of a run, as an observer hears of it."""
    return ResultFacts(result.status, _frozen(result.metrics), result.steps, result.spent_s, result.error)


def _module(origin: Origin) -> Any:
    """The plugin's module as this process has it already, or imported now."""
    return sys.modules.get(module_of_file(origin)) if origin.is_file and module_of_file(origin) in sys.modules else load(origin)


def _frozen(values: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(copy.deepcopy(dict(values)))
