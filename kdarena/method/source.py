"""The code that a plugin is made of, and its digest.

What no distribution has installed counts by its content: the plugin's own files, and every module that they import, wherever in the
file it is imported, and what those import in turn. What a distribution has installed counts by the distribution's version. Python
itself, torch and the harness are not part of it: the key of a run names what matters of them.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kdarena.method import cache
from kdarena.method.modules import HARNESS, Modules
from kdarena.method.origin import Origin


@dataclass(frozen=True)
class Source:
    """The code of a plugin.

    Attributes:
        files: of the modules that no distribution has installed, by the modules' names.
        distributions: of the other ones, as ``name==version``.
        digest: 16 hexadecimal digits, the same wherever the same code lies.
    """

    files: Mapping[str, Path]
    distributions: frozenset[str]
    digest: str


def source_of(origin: Origin, modules: Modules, also: Iterable[tuple[str, str]] = ()) -> Source:
    """The code of a plugin as its files are now.

    Args:
        also: name and file of modules that importing the plugin has loaded in ways that its text does not show.

    Raises:
        OSError: a file of the plugin itself can't be read.
    """
    files: dict[str, Path] = {}
    contents: dict[str, str] = {}
    distributions: set[str] = set()
    folder = Path(origin.target).parent if origin.is_file else None
    pending = list(_own(origin, modules))
    own = {name for name, _ in pending}
    pending += [(name, Path(file)) for name, file in also]
    while pending:
        name, file = pending.pop()
        if name in files:
            continue
        owner = None if name in own else modules.distribution(file)
        if owner is not None:
            distributions.add(owner)
            continue
        content = file.read_bytes() if name in own else _content(file)
        files[name], contents[name] = file, hashlib.sha256(content).hexdigest()
        if file.suffix == ".py" and name.partition(".")[0] != HARNESS:
            package = name if file.name == "__init__.py" else name.rpartition(".")[0]
            for imported in _imports(content, contents[name], package):
                pending += modules.chain(imported, folder)
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{contents[name]}\0".encode(errors="replace"))
    digest.update("\0".join(sorted(distributions)).encode())
    return Source(files, frozenset(distributions), digest.hexdigest()[:16])


def _own(origin: Origin, modules: Modules) -> Iterator[tuple[str, Path]]:
    """The plugin's file, or all Python files of the package that the entry point's module is in, as names and files."""
    if origin.is_file:
        yield "plugin file", Path(origin.target)  # no module's name, and the same wherever the file lies
        return
    module = origin.target.partition(":")[0].strip()
    if module.partition(".")[0] == HARNESS:
        specification = importlib.util.find_spec(module)
        if specification is not None and specification.origin:
            yield module, Path(specification.origin)
        return
    chain = modules.chain(module)
    yield from chain
    if chain and chain[-1][0] == module:
        file = chain[-1][1]
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        for path in sorted(file.parent.rglob("*.py")) if package else ():
            inner = path.relative_to(file.parent).with_suffix("").parts
            yield ".".join((package, *(inner[:-1] if inner[-1] == "__init__" else inner))), path


def _content(file: Path) -> bytes:
    """What is in a module's file; nothing where it can't be read, which importing it will say."""
    try:
        return file.read_bytes()
    except OSError:
        return b""


def _imports(content: bytes, digest: str, package: str) -> list[str]:
    """Names of the modules that a file may import, with each ``from a import b`` as ``a.b``, which may be one."""
    key = f"imports-{digest[:32]}"
    named = cache.read(key)
    if named is None:
        try:
            named = list(_written(ast.parse(content)))
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # importing it will say what is wrong
            named = []
        cache.write(key, named)
    names = []
    for level, name in named:
        above = package.split(".")[: len(package.split(".")) - level + 1] if level and package else []
        if not level or above:
            names.append(".".join([*above, *filter(None, [name])]))
    return names


def _written(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The import statements of a file: the number of leading dots, and the name after them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            yield from ((node.level, f"{module}.{alias.name}".strip(".") if alias.name != "*" else module) for alias in node.names)
