"""A user's Python file: imported once, and its code as a digest."""

from __future__ import annotations

import ast
import functools
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from kdarena.errors import described
from kdarena.files import import_file


@functools.cache
def module_of(file: str) -> ModuleType:
    """The module that a file becomes, under a name that no import statement can mean; the file can import what lies next to it.

    Raises:
        ValueError: in one line: it is missing, or its code raises.
    """
    if not Path(file).is_file():
        raise ValueError(f"{file}: no such file")
    folder = str(Path(file).parent)
    sys.path.insert(0, folder)
    try:
        return import_file(file, f"kdarena network file {hashlib.sha256(file.encode()).hexdigest()[:12]}")
    except (Exception, SystemExit) as error:
        raise ValueError(f"{file} can't be imported: {described(error)}") from None
    finally:
        sys.path.remove(folder)


def digest_of_code(file: str) -> str:
    """16 hexadecimal digits of a file and of the modules next to it that it imports, found without running any of them."""
    folder = Path(file).parent
    hashed = hashlib.sha256()
    for path in sorted(_with_neighbours(Path(file), folder)):
        hashed.update(f"{path.relative_to(folder)}\0".encode())
        hashed.update(path.read_bytes())
    return hashed.hexdigest()[:16]


def _with_neighbours(file: Path, folder: Path) -> set[Path]:
    found, waiting = set(), [file]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            for name in _imported(path):
                waiting += [folder / f"{name}.py"] if (folder / f"{name}.py").is_file() else (folder / name).rglob("*.py")
    return found


def _imported(path: Path) -> Iterator[str]:
    """First words of the names of the modules that a file imports."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]
