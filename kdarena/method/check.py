"""Whether what a plugin brings is a method: its declaration, its parameters and its hooks."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import pluggy

from kdarena.method.check_declaration import LONGEST, check_declaration, is_name
from kdarena.method.contract import HOOKS
from kdarena.method.declaration import Method
from kdarena.method.further import FURTHER, further_of, unmarked
from kdarena.method.instance import manager_for, new_instance
from kdarena.method.origin import Origin
from kdarena.method.plugin import Plugin
from kdarena.method.reasons import NEW_FORM, reason
from kdarena.method.student import Student
from kdarena.params import COMMON, tunables


def plugins_of(loaded: Any, origin: Origin, source: str = "") -> list[Plugin]:
    """The methods of a loaded object, which is one itself or has ``variants``; those with a fault are broken.

    Args:
        source: digest of the code that ``loaded`` comes from.
    """
    try:
        further = further_of(loaded) if inspect.ismodule(loaded) else {}
    except pluggy.PluginValidationError as error:
        return [broken(origin, reason(error))]
    implementations = getattr(loaded, "variants", None)
    if implementations is None and further and not hasattr(loaded, "method"):
        return []  # it brings tasks or observers alone
    if implementations is None:
        implementations = (loaded,)
    try:
        return [_plugin(implementation, origin, source) for implementation in implementations]
    except TypeError:
        return [broken(origin, "'variants' has to be a sequence of classes or modules")]


def broken(origin: Origin, problem: str, name: str | None = None) -> Plugin:
    """A plugin that can't be used.

    Args:
        name: of the method, where it is known.
    """
    return Plugin(name or origin.name, distribution=origin.distribution, version=origin.version, error=problem)


def first_of_each_name(plugins: Sequence[Plugin]) -> list[Plugin]:
    """The plugins, where the first to take a name keeps it, and any other is broken."""
    taken: dict[str, str] = {}
    kept = []
    for plugin in plugins:
        if plugin.error is None and plugin.name in taken:
            problem = f"the name {plugin.name!r} is taken by {taken[plugin.name]}, which goes on; give this method another name"
            plugin = Plugin(plugin.name, distribution=plugin.distribution, version=plugin.version, error=problem)
        elif plugin.error is None:
            taken[plugin.name] = plugin.distribution
        kept.append(plugin)
    return kept


def _plugin(implementation: Any, origin: Origin, source: str) -> Plugin:
    method = getattr(implementation, "method", None)
    if not isinstance(method, Method):
        function = unmarked(implementation) if inspect.ismodule(implementation) and method is None else None
        if function is not None:
            return broken(origin, f"{function!r} is not marked with @hookimpl, so that it would never be called; mark it")
        return broken(origin, f"has no attribute 'method' of type kdarena.Method, and none of the hooks {', '.join(FURTHER)}")
    if not is_name(method.name):
        return broken(origin, f"method name {method.name!r:.100} has to be of lower-case letters, digits and single hyphens, at most {LONGEST}")
    if not (inspect.isclass(implementation) or inspect.ismodule(implementation)):
        return broken(origin, f"{type(implementation).__name__} is registered as an instance; {NEW_FORM}", method.name)
    try:
        check_declaration(method)
        clash = set(COMMON).intersection(tunables(method.Params))
        if clash:
            raise ValueError(f"parameter {min(clash)!r} is a common hyper-parameter of every method; give it another name")
        _check_hooks(new_instance(implementation, method.Params()))
    except Exception as error:
        return broken(origin, reason(error), method.name)
    return Plugin(method.name, implementation, method, origin.distribution, origin.version, source=source)


def _check_hooks(instance: Any) -> None:
    """Raise ``ValueError`` or ``pluggy.PluginValidationError`` with what is wrong with the hooks of an instance.

    A function with a hook's name that is not marked would be ignored without a word, and the row would be the plain student's.
    """
    if isinstance(instance, Student):
        return
    hook = manager_for(instance).hook
    own = [implementation for name in HOOKS for implementation in getattr(hook, name).get_hookimpls() if implementation.plugin is instance]
    marked = {implementation.function.__name__ for implementation in own}
    unmarked = [name for name in HOOKS if callable(getattr(instance, name, None)) and name not in marked]
    if unmarked:
        raise ValueError(f"{unmarked[0]!r} is not marked with @hookimpl, so that it would never be called; mark it or give it another name")
    for implementation in own:
        name, function = implementation.function.__name__, implementation.function
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise ValueError(f"hook {name!r} is async, and what it returns would never be awaited; write 'def' in the place of 'async def'")
        if inspect.isgeneratorfunction(function) and not (implementation.wrapper or implementation.hookwrapper):
            raise ValueError(f"hook {name!r} is a generator, of which nothing would be computed; write 'return' in the place of 'yield'")
    if not own:
        raise ValueError(f"implements no hook, so that it would be the plain student; implement one of {', '.join(HOOKS)}")
