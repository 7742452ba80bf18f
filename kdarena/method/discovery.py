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
from typing import Any

import pluggy

from kdarena.errors import UserError, described
from kdarena.method.contract import HOOKS, PROJECT, Method, MethodHooks
from kdarena.method.student import Defaults
from kdarena.params import COMMON, tunables

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Plugin:
    """One method that was found, or one that could not be loaded.

    Attributes:
        name: of the method; for a broken plugin the name of its entry point or file.
        plugin: the object with the hooks; None where it is broken.
        method: its declaration; None where it is broken.
        distribution, version: the installed package that brings it, or the file.
        error: one line that says why it is broken, or None.
        source: digest of its code.
    """

    name: str
    plugin: Any = None
    method: Method | None = None
    distribution: str = ""
    version: str = ""
    error: str | None = None
    source: str = ""

    @property
    def status(self) -> str:
        """``ok`` or ``broken``."""
        return "broken" if self.error else "ok"


def discover(paths: Iterable[str | Path] = ()) -> list[Plugin]:
    """Every method of the installed plugins and of the files at ``paths``, in the order of their names; broken ones last."""
    found: list[Plugin] = []
    for entry_point in sorted(importlib.metadata.entry_points(group=PROJECT), key=lambda point: point.name):
        distribution = entry_point.dist
        name, version = (distribution.name, distribution.version) if distribution else ("", "")
        try:
            loaded = entry_point.load()
        except (Exception, SystemExit) as error:
            found.append(Plugin(entry_point.name, distribution=name, version=version, error=_one_line(error)))
        else:
            found.extend(_inspect(entry_point.name, loaded, name, version))
    for path in paths:
        found.extend(_from_file(Path(path)))
    return sorted(_without_doubles(found), key=lambda one: (one.error is not None, one.name))


def select(found: Sequence[Plugin], names: str) -> list[Plugin]:
    """The methods that ``--plugins`` names: ``all`` or a list with commas.

    Raises:
        UserError: a name is unknown or broken.
    """
    working = {one.name: one for one in found if one.error is None}
    if names == "all":
        return list(working.values())
    broken = {one.name: one for one in found if one.error is not None}
    chosen: dict[str, Plugin] = {}
    for name in filter(None, (part.strip() for part in names.split(","))):
        if name in working:
            chosen[name] = working[name]
        elif name in broken:
            raise UserError(f"plugin {name!r} is broken: {broken[name].error}; mend it or leave it out of --plugins")
        else:
            raise UserError(f"unknown plugin {name!r}; known: {', '.join(working)} (see: kdarena plugins)")
    if not chosen:
        raise UserError("--plugins names no plugin; use 'all' or names with commas (see: kdarena plugins)")
    return list(chosen.values())


def manager_for(plugin: Any) -> pluggy.PluginManager:
    """A manager over the defaults and one method, which goes first.

    Raises:
        pluggy.PluginValidationError: a hook is misspelt or has a wrong signature.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(MethodHooks)
    manager.register(Defaults(), name="kdarena defaults")
    if not isinstance(plugin, Defaults):
        manager.register(plugin, name="method")
    manager.check_pending()
    return manager


def _from_file(path: Path) -> list[Plugin]:
    if not path.is_file():
        raise UserError(f"--plugin-path {path}: no such file")
    # a name of its own that no import statement can mean, so that a file never shadows a package
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
    """The methods of a loaded object: its own ``method``, or those of its ``variants``."""
    plugins = getattr(loaded, "variants", None)
    if plugins is None:
        plugins = (loaded,)
    try:
        return [_check(name, plugin, distribution, version) for plugin in plugins]
    except TypeError:
        return [Plugin(name, distribution=distribution, version=version, error="'variants' has to be a sequence of plugins")]


def _check(name: str, plugin: Any, distribution: str, version: str) -> Plugin:
    method = getattr(plugin, "method", None)
    if not isinstance(method, Method):
        return Plugin(name, distribution=distribution, version=version, error="has no attribute 'method' of type kdarena.Method")
    if not NAME.fullmatch(method.name):
        problem = f"method name {method.name!r} has to be of lower-case letters, digits and single hyphens"
        return Plugin(name, distribution=distribution, version=version, error=problem)
    try:
        clash = set(COMMON).intersection(tunables(method.Params))
        if clash:
            raise ValueError(f"parameter {min(clash)!r} is a common hyper-parameter of every method; give it another name")
        manager_for(plugin)
    except Exception as error:
        return Plugin(method.name, distribution=distribution, version=version, error=_one_line(error))
    return Plugin(method.name, plugin, method, distribution, version, source=_source_digest(plugin))


def _without_doubles(found: Sequence[Plugin]) -> list[Plugin]:
    """The first plugin of a name keeps it; a later one is broken."""
    taken: dict[str, str] = {}
    kept = []
    for one in found:
        if one.error is None and one.name in taken:
            problem = f"the name is taken by {taken[one.name]}; a method needs a name of its own"
            one = Plugin(one.name, distribution=one.distribution, version=one.version, error=problem)
        elif one.error is None:
            taken[one.name] = one.distribution
        kept.append(one)
    return kept


def _source_digest(plugin: Any) -> str:
    """Digest of the Python files of the plugin's package, or of its one file."""
    file = Path(inspect.getfile(plugin if inspect.ismodule(plugin) else type(plugin)))
    module = inspect.getmodule(plugin if inspect.ismodule(plugin) else type(plugin))
    inside_package = bool(module and module.__package__ and module.__package__ != PROJECT)
    files = sorted(file.parent.glob("*.py")) if inside_package else [file]
    digest = hashlib.sha256()
    for one in files:
        digest.update(one.name.encode() + b"\0" + one.read_bytes())
    return digest.hexdigest()[:16]


def _one_line(error: BaseException) -> str:
    known = f" (hooks are {', '.join(HOOKS)})" if isinstance(error, pluggy.PluginValidationError) else ""
    return described(error) + known
