"""Finding plugins: entry points of the group ``kdarena`` and files given by path, each loaded by itself.

A plugin that fails to import, misspells a hook or has a wrong signature is listed as broken with its reason; everything
else works.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from kdarena.errors import UserError, described
from kdarena.method.contract import HOOKS, PROJECT, MethodHooks
from kdarena.method.declaration import Method
from kdarena.method.student import Student
from kdarena.params import COMMON, Params, tunables

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

NEW_FORM = (
    "register the class itself (variants = (MyMethod,)) or a module of functions: kdarena makes an instance for each run, whose "
    "attributes are its state (self.vocabulary, not run.store), whose parameters are self.params and whose equations are in the module's docstring"
)


@dataclass(frozen=True)
class Plugin:
    """A method that a plugin brings, or a plugin that could not be loaded.

    Attributes:
        name: of the method; for a broken plugin the name of its entry point or file.
        implementation: the class or the module with the hooks; None where it is broken.
        method: its declaration; None where it is broken.
        distribution, version: the installed package that brings it, or the file.
        error: one line that says why it is broken, or None.
        source: digest of its code.
    """

    name: str
    implementation: type | ModuleType | None = None
    method: Method | None = None
    distribution: str = ""
    version: str = ""
    error: str | None = None
    source: str = ""

    @property
    def status(self) -> str:
        """``ok`` or ``broken``."""
        return "broken" if self.error else "ok"

    @property
    def equations(self) -> str:
        """The docstring of the module that implements it."""
        return inspect.getdoc(inspect.getmodule(self.implementation)) or ""


STUDENT = Plugin(Student.method.name, Student, Student.method)
"""The plain student."""


def new_instance(implementation: Any, params: Params) -> Any:
    """What a run calls: a new instance of a class, which gets the run's parameters as ``params``; a module as it is."""
    if inspect.ismodule(implementation):
        return implementation
    instance = implementation()
    instance.params = params
    return instance


def discover(paths: Iterable[str | Path] = ()) -> list[Plugin]:
    """Every method of the installed plugins and of the files at ``paths``, in the order of their names; broken ones last."""
    plugins: list[Plugin] = []
    for entry_point in sorted(importlib.metadata.entry_points(group=PROJECT), key=lambda point: point.name):
        distribution = entry_point.dist
        name, version = (distribution.name, distribution.version) if distribution else ("", "")
        try:
            loaded = entry_point.load()
        except (Exception, SystemExit) as error:
            plugins.append(Plugin(entry_point.name, distribution=name, version=version, error=_one_line(error)))
        else:
            plugins.extend(_inspect(entry_point.name, loaded, name, version))
    for path in paths:
        plugins.extend(_from_file(Path(path)))
    return sorted(_without_doubles(plugins), key=lambda plugin: (plugin.error is not None, plugin.name))


def select(plugins: Sequence[Plugin], names: str) -> list[Plugin]:
    """The methods that ``--plugins`` names: ``all`` or a list with commas.

    Raises:
        UserError: a name is unknown or broken.
    """
    working = {plugin.name: plugin for plugin in plugins if plugin.error is None}
    if names == "all":
        return list(working.values())
    broken = {plugin.name: plugin for plugin in plugins if plugin.error is not None}
    chosen: dict[str, Plugin] = {}
    for name in filter(None, (part.strip() for part in names.split(","))):
        if name in working:
            chosen[name] = working[name]
        elif name in broken:
            raise UserError(f"plugin {name!r} is broken: {broken[name].error}; fix it or leave it out of --plugins")
        else:
            raise UserError(f"unknown plugin {name!r}; known: {', '.join(working)} (see: kdarena plugins)")
    if not chosen:
        raise UserError("--plugins names no plugin; use 'all' or names with commas (see: kdarena plugins)")
    return list(chosen.values())


def manager_for(instance: Any) -> pluggy.PluginManager:
    """A manager over the defaults and one method's instance, which goes first.

    Raises:
        pluggy.PluginValidationError: a hook is misspelt or has a wrong signature.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(MethodHooks)
    manager.register(Student(), name="kdarena defaults")
    if not isinstance(instance, Student):
        manager.register(instance, name="method")
    manager.check_pending()
    return manager


def _from_file(path: Path) -> list[Plugin]:
    if not path.is_file():
        raise UserError(f"--plugin-path {path}: no such file")
    # a name that no import statement can mean, so that a file never shadows a package
    module_name = f"kdarena plugin file {hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    try:
        specification = importlib.util.spec_from_file_location(module_name, path)
        if specification is None or specification.loader is None:
            return [Plugin(path.stem, distribution=str(path), error="not a Python file")]
        module = importlib.util.module_from_spec(specification)
        sys.modules[module_name] = module
        specification.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sys.modules.pop(module_name, None)
        return [Plugin(path.stem, distribution=str(path), error=_one_line(error))]
    return _inspect(path.stem, module, str(path), "")


def _inspect(name: str, loaded: Any, distribution: str, version: str) -> list[Plugin]:
    """The methods of a loaded object: itself, or its ``variants``."""
    implementations = getattr(loaded, "variants", None)
    if implementations is None:
        implementations = (loaded,)
    try:
        return [_check(name, implementation, distribution, version) for implementation in implementations]
    except TypeError:
        return [Plugin(name, distribution=distribution, version=version, error="'variants' has to be a sequence of classes or modules")]


def _check(name: str, implementation: Any, distribution: str, version: str) -> Plugin:
    method = getattr(implementation, "method", None)
    if not isinstance(method, Method):
        return Plugin(name, distribution=distribution, version=version, error="has no attribute 'method' of type kdarena.Method")
    if not NAME.fullmatch(method.name):
        problem = f"method name {method.name!r} has to be of lower-case letters, digits and single hyphens"
        return Plugin(name, distribution=distribution, version=version, error=problem)
    if not (inspect.isclass(implementation) or inspect.ismodule(implementation)):
        return Plugin(
            method.name, distribution=distribution, version=version, error=f"{type(implementation).__name__} is registered as an instance; {NEW_FORM}"
        )
    try:
        clash = set(COMMON).intersection(tunables(method.Params))
        if clash:
            raise ValueError(f"parameter {min(clash)!r} is a common hyper-parameter of every method; give it another name")
        _check_hooks(new_instance(implementation, method.Params()))
    except Exception as error:
        return Plugin(method.name, distribution=distribution, version=version, error=_one_line(error))
    return Plugin(method.name, implementation, method, distribution, version, source=_source_digest(implementation))


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
    if not own:
        raise ValueError(f"implements no hook, so that it would be the plain student; implement one of {', '.join(HOOKS)}")


def _without_doubles(plugins: Sequence[Plugin]) -> list[Plugin]:
    """The first plugin of a name keeps it; a later one is broken."""
    taken: dict[str, str] = {}
    kept = []
    for plugin in plugins:
        if plugin.error is None and plugin.name in taken:
            problem = f"the name is taken by {taken[plugin.name]}; a method needs a name of its own"
            plugin = Plugin(plugin.name, distribution=plugin.distribution, version=plugin.version, error=problem)
        elif plugin.error is None:
            taken[plugin.name] = plugin.distribution
        kept.append(plugin)
    return kept


def _source_digest(implementation: type | ModuleType) -> str:
    """Digest of the Python files of the plugin's package, or of its one file."""
    file = Path(inspect.getfile(implementation))
    module = inspect.getmodule(implementation)
    inside_package = bool(module and module.__package__ and module.__package__.partition(".")[0] != PROJECT)
    files = sorted(file.parent.glob("*.py")) if inside_package else [file]
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _one_line(error: BaseException) -> str:
    text = described(error)
    if isinstance(error, pluggy.PluginValidationError):
        return f"{text} (hooks are {', '.join(HOOKS)})"
    if "Method.__init__() got an unexpected keyword argument" in text:
        return f"{text}; {NEW_FORM}"
    return text
