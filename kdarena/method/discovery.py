"""Finding plugins: entry points of the group ``kdarena`` and files given by path, each loaded by itself.

A plugin that fails to import, misspells a hook or has a wrong signature is listed as broken with its reason; everything
else works.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from kdarena.errors import UserError
from kdarena.method.check import broken, first_of_each_name, plugins_of
from kdarena.method.findings import Known, known, known_anew
from kdarena.method.origin import load, origins, printing_to_stderr
from kdarena.method.plugin import Plugin
from kdarena.method.reasons import reason
from kdarena.method.source import Source


def discover(paths: Iterable[str | Path] = ()) -> list[Plugin]:
    """Every method of the installed plugins and of the files at ``paths``, in the order of their names; broken ones last.

    Of two methods of one name an installed one goes before a file's, and the first file's before a later one's.

    Raises:
        UserError: a path is not a file.
    """
    plugins = [plugin for listed in listing(paths) for plugin in imported(listed)]
    return sorted(first_of_each_name(plugins), key=lambda plugin: (plugin.error is not None, plugin.name))


def listing(paths: Iterable[str | Path] = (), *, try_out: bool = True) -> list[Known]:
    """The installed plugins and the files at ``paths``, with the names of their methods, without importing one in this process.

    Args:
        try_out: as of :func:`kdarena.method.findings.known`.
    """
    return known(origins(paths), try_out=try_out)


def imported(listed: Known) -> list[Plugin]:
    """The methods of one plugin, which is imported into this process only where that went well in another.

    Where it loads other modules here than it did there, as what it loads depends on the environment or on a folder, it is tried out anew.
    """
    before = frozenset(sys.modules)
    plugins = _imported(listed)
    if listed.error is not None or not listed.otherwise_loaded(before):
        return plugins
    anew = known_anew(listed.origin)
    if anew.error is not None:
        return [broken(listed.origin, anew.error)]
    other = anew.otherwise_loaded(before)
    if other:
        return [broken(listed.origin, f"does not load the same code in every process ({other[0]}); import it at the top of the file")]
    return [replace(plugin, source=anew.source.digest) for plugin in plugins]


def _imported(listed: Known) -> list[Plugin]:
    if listed.error is not None:
        return [broken(listed.origin, listed.error)]
    _make_way(listed.source)
    try:
        with printing_to_stderr(), warnings.catch_warnings():  # a plugin's filters are not to hide what kdarena says
            return plugins_of(load(listed.origin), listed.origin, listed.source.digest)
    except (Exception, SystemExit) as error:
        return [broken(listed.origin, reason(error))]


def find(name: str, plugins: Sequence[Known], source: str = "") -> Plugin | None:
    """The method of a name: only the plugin that brings it is imported. None where no plugin does.

    Where it can't be imported, what is returned is broken; where it loads other code than is known, its source is empty.

    Args:
        source: digest of its code, by which it is recognised among plugins that were not tried out.
    """
    untried = [listed for listed in plugins if listed.finding is None]
    bringing = [listed for listed in plugins if name in listed.methods] or [listed for listed in untried if listed.source.digest == source]
    if not bringing and untried:  # nothing can be kept on this machine, and the code is not all in the text
        bringing = [listed for listed in known([listed.origin for listed in untried]) if name in listed.methods]
    for listed in bringing:
        before, now = frozenset(sys.modules), listed.renewed()  # the listing may be hours old
        methods = _imported(now)
        method = next((method for method in methods if method.name == name), methods[0])
        return replace(method, source="") if now.otherwise_loaded(before) else method
    return next((broken(listed.origin, listed.error) for listed in plugins if listed.origin.name == name and listed.error), None)


def select(plugins: Sequence[Plugin], names: str) -> list[Plugin]:
    """The methods that ``--plugins`` names: ``all`` or a list with commas.

    Raises:
        UserError: a name is unknown or broken.
    """
    working = {plugin.name: plugin for plugin in plugins if plugin.error is None}
    if names == "all":
        return list(working.values())
    faulty = {plugin.name: plugin for plugin in plugins if plugin.error is not None}
    chosen: dict[str, Plugin] = {}
    for name in filter(None, (part.strip() for part in names.split(","))):
        if name in working:
            chosen[name] = working[name]
        elif name in faulty:
            raise UserError(f"plugin {name!r} is broken: {faulty[name].error}; fix it or leave it out of --plugins")
        else:
            raise UserError(f"unknown plugin {name!r}; known: {', '.join(working)} (see: kdarena plugins)")
    if not chosen:
        raise UserError("--plugins names no plugin; use 'all' or names with commas (see: kdarena plugins)")
    return list(chosen.values())


def _make_way(source: Source) -> None:
    """Forget modules that another plugin has imported and that have the names of this one's own, which lie elsewhere."""
    for name, file in source.files.items():
        other = getattr(sys.modules.get(name), "__file__", None)
        if other is not None and Path(other) != file:
            del sys.modules[name]
