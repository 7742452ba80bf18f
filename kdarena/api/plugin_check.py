"""The contract tests over one plugin, given by its name or its file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from kdarena.errors import UserError
from kdarena.method.discovery import imported, listing
from kdarena.method.findings import Known
from kdarena.method.plugin import Plugin
from kdarena.method.student import Student
from kdarena.testing.check_process import checked
from kdarena.testing.finding import Finding


def check(target: str, paths: Sequence[str] = ()) -> Iterator[tuple[str, Finding]]:
    """The findings of each method that a target names, as they come, each with the method's name.

    Args:
        target: the name of a method, or a plugin's file.
        paths: files of plugins in addition to the installed ones.

    Raises:
        UserError: there is no such method, and no such file.
    """
    is_file = target.endswith(".py") or "/" in target or Path(target).is_file()
    listed = listing([*paths, *([target] if is_file else [])])
    chosen = [(known, plugin) for known in listed for plugin in _methods(known, target, is_file)]
    if not chosen:
        names = sorted(name for known in listed for name in known.methods)
        raise UserError(f"unknown method {target!r}; known: {', '.join(names)}; or name the plugin's file, as {target}.py")
    if not is_file:
        chosen = [(known, plugin) for known, plugin in chosen if plugin.error is None][:1] or chosen[:1]
    for known, plugin in chosen:
        if plugin.error is not None:
            yield plugin.name, Finding("declaration", "failed", plugin.error)
            continue
        if is_file:
            taken = _taken(plugin.name, listed, known)
            if taken:
                yield plugin.name, Finding("name", "failed", f"the name {plugin.name!r} is taken by {taken}; give this method another name")
        for finding in checked(known.origin, plugin.name):
            yield plugin.name, finding


def _methods(known: Known, target: str, is_file: bool) -> list[Plugin]:
    """The methods of a plugin that the target names; those that are broken too."""
    if is_file:
        return imported(known) if known.origin.is_file and Path(known.origin.target) == Path(target).resolve() else []
    if target not in known.methods and known.origin.name != target:
        return []
    plugins = imported(known)
    named = [plugin for plugin in plugins if plugin.name == target]
    return named or (plugins if known.error is not None else [])


def _taken(name: str, listed: Sequence[Known], own: Known) -> str | None:
    """The installed plugin that has a name already."""
    others = [known for known in listed if known is not own and not known.origin.is_file]
    return next((other.origin.distribution for other in others if name in other.methods), "kdarena" if name == Student.method.name else None)
