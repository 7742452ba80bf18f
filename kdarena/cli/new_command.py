"""``kdarena plugins new``: a method to begin with."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from kdarena.errors import UserError
from kdarena.method.beginning import file_of, module_name, package_of
from kdarena.method.discovery import listing


def new(name: str, package: bool) -> None:
    """Write it to the current folder, and say what comes next.

    Raises:
        UserError: the name can't be that of a new method, or something of that name is there.
    """
    try:
        module = module_name(name)
    except ValueError as error:
        raise UserError(f"plugins new: {error}") from None
    if any(name in known.methods for known in listing()):
        raise UserError(f"plugins new: the name {name!r} is taken by an installed method; take another one (see: kdarena plugins)")
    if importlib.util.find_spec(module) is not None and not Path(f"{module}.py").exists():
        raise UserError(f"plugins new: an installed package has the name {module!r}, which the file would hide; take another one, as my-{name}")
    if package:
        _write(Path(name), package_of(name))
        print(f"written: {name}/ with {', '.join(package_of(name))}")
        print(f"next:    pip install -e ./{name} && kdarena plugins check {name}")
    else:
        (file,) = file_of(name)
        _write(Path(), file_of(name))
        print(f"written: {file}")
        print(f"next:    kdarena plugins check {file}")
        print(f"         kdarena run --plugin-path {file} --plugins {name} --tasks digits")


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """Write new files; nothing is written where one is there already."""
    there = folder if folder != Path() and folder.exists() else next((folder / name for name in files if (folder / name).exists()), None)
    if there is not None:
        raise UserError(f"plugins new: {there} is there already, and nothing is overwritten; take another name, or move it away")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        with (folder / name).open("x", encoding="utf-8") as file:
            file.write(text)
