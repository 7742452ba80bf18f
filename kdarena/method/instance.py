"""What a run calls: an instance of a method, and the manager of its hooks over the defaults."""

from __future__ import annotations

import inspect
from typing import Any

import pluggy

from kdarena.method.contract import PROJECT, MethodHooks
from kdarena.method.further import FurtherHooks
from kdarena.method.student import Student
from kdarena.params import Params


def new_instance(implementation: Any, params: Params) -> Any:
    """What a run calls: a new instance of a class, which gets the run's parameters as ``params``; a module as it is."""
    if inspect.ismodule(implementation):
        return implementation
    instance = implementation()
    instance.params = params
    return instance


def manager_for(instance: Any) -> pluggy.PluginManager:
    """A manager over the defaults and one method's instance, which goes first.

    Raises:
        pluggy.PluginValidationError: a hook is misspelt or has a wrong signature.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(MethodHooks)
    manager.add_hookspecs(FurtherHooks)
    manager.register(Student(), name="kdarena defaults")
    if not isinstance(instance, Student):
        manager.register(instance, name="method")
    manager.check_pending()
    return manager
