"""Where modules lie, and which distribution installed them. Nothing is imported to find it out."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.metadata
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

HARNESS = "kdarena"
ELSEWHERE = (HARNESS, "torch")
"""What the key of every run names itself: the harness's code and torch's version."""

SITES = ("site-packages", "dist-packages")
"""Folders in which only installers write."""


class Modules:
    """What the finders of this process know at the time; asked again for each listing of plugins, since files come and go."""

    def __init__(self) -> None:
        importlib.invalidate_caches()
        self._path = {os.path.abspath(entry) for entry in sys.path}
        self._specs: dict[tuple[str, ...], importlib.machinery.ModuleSpec | None] = {}
        self._owners: dict[Path, str | None] = {}

    def chain(self, name: str, folder: Path | None = None) -> list[tuple[str, Path]]:
        """The modules that ``import name`` executes, as name and file: its packages and itself, as far as they are there.

        Those of Python itself and of :data:`ELSEWHERE` are left out.

        Args:
            folder: where to look for what the finders don't know, as the folder of the file that imports it.
        """
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top in ELSEWHERE:
            return []
        known: list[tuple[str, Path]] = []
        places: Iterable[str] | None = None
        parts = name.split(".")
        for count in range(1, len(parts) + 1):
            spec = self._spec(".".join(parts[:count]), places, folder if count == 1 else None)
            if spec is None:
                break
            if spec.has_location and spec.origin:
                known.append((spec.name, Path(spec.origin)))
            places = spec.submodule_search_locations
            if places is None:
                break
        return known

    def distribution(self, file: Path) -> str | None:
        """``name==version`` of the distribution that installed a file; None for a file of one's own and for an editable install."""
        for base in file.parents:
            if str(base) in self._path:
                relative = file.relative_to(base)
                place = file if file.parent == base else file.parent
                if place not in self._owners:
                    self._owners[place] = _owner(base, relative)
                return self._owners[place]
        return None

    def _spec(self, name: str, places: Iterable[str] | None, folder: Path | None) -> importlib.machinery.ModuleSpec | None:
        searched = None if places is None else list(places)
        key = (name, str(folder), *(searched or ()))
        if key not in self._specs:
            self._specs[key] = _find(name, searched)
            if self._specs[key] is None and folder is not None:
                self._specs[key] = importlib.machinery.PathFinder.find_spec(name, [str(folder)])
        return self._specs[key]


def own_modules(names: Iterable[str]) -> list[str]:
    """Files of those loaded modules that are Python of one's own: that neither Python, torch, the harness nor a distribution brings."""
    files = []
    for name in sorted(names):
        top, file = name.partition(".")[0], getattr(sys.modules.get(name), "__file__", None)
        if not isinstance(file, str) or not file.endswith(".py") or " " in name or top in sys.stdlib_module_names or top in ELSEWHERE:
            continue
        if not any(f"{os.sep}{site}{os.sep}" in file for site in SITES):
            files.append(os.path.abspath(file))
    modules = Modules() if files else None
    return [file for file in files if modules is not None and modules.distribution(Path(file)) is None]


def _find(name: str, places: Sequence[str] | None) -> importlib.machinery.ModuleSpec | None:
    """What ``importlib.util.find_spec`` gives, without importing the parent package and without what is imported already."""
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(name, places)
        except Exception:  # for a folder without __init__.py it asks the parent package, which is not imported; or it is somebody's own
            continue
        if spec is not None:
            return spec
    folders = [folder for place in places or () if os.path.isdir(folder := os.path.join(place, name.rpartition(".")[2]))]
    if not folders:
        return None
    namespace = importlib.machinery.ModuleSpec(name, None, is_package=True)
    namespace.submodule_search_locations = folders
    return namespace


def _owner(base: Path, file: Path) -> str | None:
    """The distribution in a folder of ``sys.path`` whose list of files has this one; one of the module's name is asked first."""
    line, top = f"\n{file.as_posix()},", file.parts[0].removesuffix(".py")
    named = importlib.metadata.Distribution.discover(name=top, path=[str(base)])
    for distributions in (named, importlib.metadata.Distribution.discover(path=[str(base)])):
        for distribution in distributions:
            record = distribution.read_text("RECORD")
            if record is not None:
                owns = line in "\n" + record
            else:  # some installers write no list of files
                tops = distribution.read_text("top_level.txt") or distribution.name.replace("-", "_")
                owns = base.name in SITES and top in tops.split()
            if owns:
                return f"{distribution.name}=={distribution.version}"
    return None
