"""A folder of pictures, a folder a class, with or without folders ``train``, ``val`` and ``test`` above them: what files there are, and what can't be used.

No file is opened here.
"""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

Part = Literal["train", "validation", "test"]
"""As in :mod:`kdarena.tracks.values`, which imports torch."""
PARTS: Mapping[str, Part] = MappingProxyType(
    {
        **dict.fromkeys(("train", "training"), "train"),
        **dict.fromkeys(("val", "valid", "validation"), "validation"),
        **dict.fromkeys(("test", "testing"), "test"),
    }
)
"""The part that a folder's name means, in lower case."""
NOT_LOOKED_AT = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "icon\r", "$recycle.bin"})
"""What systems put into folders, in lower case; also whatever begins with a dot."""


@dataclass(frozen=True)
class File:
    """A file that may be a picture.

    Attributes:
        path: below the folder, with slashes.
        part: that its folder names, or None.
        label: name of its class; empty where it has none.
        size: in bytes.
        modified: in nanoseconds.
    """

    path: str
    part: Part | None
    label: str
    size: int
    modified: int


@dataclass(frozen=True)
class Problem:
    """A file or folder that can't be used: its path below the folder, why, and what to do."""

    path: str
    why: str

    def __str__(self) -> str:
        return f"{shown(self.path)} {self.why}"


@dataclass(frozen=True)
class Listing:
    """What a folder has.

    Attributes:
        root: the folder.
        files: in the order of their paths.
        classes: names of the classes' folders, also of those without a file, in order.
        problems: what can't be used.
        loose: pictures by their name that lie in no class's folder.
        parts: that folders name; empty where they name none.
        strangers: folders next to those of the parts.
    """

    root: Path
    files: tuple[File, ...]
    classes: tuple[str, ...]
    problems: tuple[Problem, ...]
    loose: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    strangers: tuple[str, ...] = ()


def listed(root: Path) -> Listing:
    """The classes and files of a folder.

    Raises:
        ValueError: in one line: it is no folder, or has no folder a class.
    """
    tops = _tops(root)
    parts = _parts(root, tops)
    found = _Found(root)
    for name in tops.folders:
        if not parts:
            found.add_class(name, None)
        elif name in parts:
            found.add_part(name, parts[name])
    strangers = tuple(name for name in tops.folders if parts and name not in parts)
    loose = (*tops.files, *found.loose)
    if not found.classes:
        raise ValueError(f"{shown(root)}: it has no folders of pictures; make one for each class, named as the class, and put its pictures into it")
    files = tuple(sorted(found.files, key=lambda file: file.path))
    return Listing(root, files, tuple(sorted(found.classes)), (*tops.problems, *found.problems), loose, tuple(dict.fromkeys(parts.values())), strangers)


def listed_without_classes(root: Path) -> Listing:
    """All files of a folder, which have no class; raises ``ValueError`` in one line where it is no folder."""
    if not os.path.isdir(root):
        why = os.strerror(errno.ENOTDIR if os.path.exists(root) else errno.ENOENT)
        raise ValueError(f"{shown(root)}: {why}: give --unlabelled a folder of pictures")
    _tops(root)
    found = _Found(root)
    found.add_files("", "", None)
    return Listing(root, tuple(sorted(found.files, key=lambda file: file.path)), (), tuple(found.problems))


def shown(path: str | Path) -> str:
    """A path as it can be printed in one line: what can't be printed is escaped."""
    text = os.fspath(path).encode("utf-8", "backslashreplace").decode()
    return "".join(character if character.isprintable() else character.encode("unicode_escape").decode() for character in text)


@dataclass(frozen=True)
class _Tops:
    """What lies directly in a folder."""

    folders: tuple[str, ...]
    files: tuple[str, ...]
    problems: tuple[Problem, ...]


def _tops(root: Path, below: str = "") -> _Tops:
    """Raises ``ValueError`` in one line where it can't be looked into."""
    folders: list[str] = []
    files: list[str] = []
    problems: list[Problem] = []
    for kind, path, status in _entries(root, below):
        if isinstance(status, Problem):
            problems.append(status)
        else:
            (folders if kind == "folder" else files).append(path)
    return _Tops(tuple(folders), tuple(files), tuple(problems))


def _parts(root: Path, tops: _Tops) -> dict[str, Part]:
    """Folders that name a part: where ``train`` has folders itself, and all else names a part too or there is another part; else they are classes."""
    named = {name: PARTS[name.lower()] for name in tops.folders if name.lower() in PARTS}
    train = [name for name, part in named.items() if part == "train"]
    if not any(_tops(root, name).folders for name in train) or not (len(named) > 1 or len(named) == len(tops.folders)):
        return {}
    for part in ("train", "validation", "test"):
        several = [name for name, own in named.items() if own == part]
        if len(several) > 1:
            raise ValueError(f"{shown(root)}: {' and '.join(map(shown, several))} both name the {part} part: keep one of them there")
    for name, part in named.items():
        inside = _tops(root, name)
        if inside.files and not inside.folders:
            remedy = "without labels nothing can be scored; sort them into a folder a class, or move them elsewhere (--unlabelled takes such a folder)"
            raise ValueError(f"{shown(root / name)}: the {part} part has {len(inside.files)} files in no class's folder: {remedy}")
    return named


class _Found:
    """Files, classes and problems as they are met."""

    def __init__(self, root: Path):
        self.root = root
        self.files: list[File] = []
        self.classes: set[str] = set()
        self.problems: list[Problem] = []
        self.loose: list[str] = []

    def add_part(self, name: str, part: Part) -> None:
        """A part's folder: its folders are classes."""
        inside = _tops(self.root, name)
        self.problems += inside.problems
        self.loose += inside.files
        for folder in inside.folders:
            self.add_class(folder, part)

    def add_class(self, folder: str, part: Part | None) -> None:
        """A class's folder with all below it. Its name is normalised: one system writes é as one character, another as two."""
        label = unicodedata.normalize("NFC", folder.rpartition("/")[2])
        self.classes.add(label)
        self.add_files(folder, label, part)

    def add_files(self, below: str, label: str, part: Part | None) -> None:
        """All files below a folder."""
        try:
            parts = [part for part in below.split("/") if part]
            above = (os.stat(self.root.joinpath(*parts[:depth])) for depth in range(len(parts)))
            for path, status in _files(self.root, below, frozenset((folder.st_dev, folder.st_ino) for folder in above)):
                if isinstance(status, Problem):
                    self.problems.append(status)
                else:
                    self.files.append(File(path, part, label, status.st_size, status.st_mtime_ns))
        except ValueError:
            self.problems.append(Problem(below, "can't be looked into: allow it to be read"))


def _files(root: Path, below: str, above: frozenset[tuple[int, int]]) -> Iterator[tuple[str, os.stat_result | Problem]]:
    """Files below a folder, nested ones too. Links are followed, wherever they lead, and none in a circle.

    Args:
        above: devices and numbers of the folders that it lies in.
    """
    own = os.stat(root / below)
    above |= {(own.st_dev, own.st_ino)}
    for kind, path, status in _entries(root, below):
        if isinstance(status, Problem) or kind == "file":
            yield path, status
        elif (status.st_dev, status.st_ino) in above:
            yield path, Problem(path, "is a link to a folder that it lies in: remove it")
        else:
            try:
                yield from _files(root, path, above)
            except ValueError:
                yield path, Problem(path, "can't be looked into: allow it to be read")


def _entries(root: Path, below: str) -> Iterator[tuple[str, str, os.stat_result | Problem]]:
    """Kind (``folder`` or ``file``), path below the root and status of what lies directly in a folder, in the order of names.

    Raises:
        ValueError: in one line: it can't be looked into.
    """
    try:
        with os.scandir(root / below) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
    except OSError as error:
        remedy = "give a folder that has one folder a class" if error.errno in (errno.ENOENT, errno.ENOTDIR) else "allow it to be read"
        raise ValueError(f"{shown(root / below)}: {os.strerror(error.errno or 0)}: {remedy}") from None
    for entry in entries:
        if entry.name.startswith(".") or entry.name.lower() in NOT_LOOKED_AT:
            continue
        path = f"{below}/{entry.name}" if below else entry.name
        try:
            status = entry.stat()
        except OSError as error:
            yield "file", path, Problem(path, _why_not(entry, error))
            continue
        if stat.S_ISDIR(status.st_mode):
            yield "folder", path, status
        elif stat.S_ISREG(status.st_mode):
            yield "file", path, status
        else:
            yield "file", path, Problem(path, "is a pipe, a socket or a device: remove it")


def _why_not(entry: os.DirEntry[str], error: OSError) -> str:
    if not entry.is_symlink():
        return f"can't be looked at ({os.strerror(error.errno or 0)}): allow it to be read"
    return "is a link in a circle: remove it" if error.errno == errno.ELOOP else "is a link to nothing: remove it, or restore what it leads to"


def first_few(items: Sequence[object], named: int) -> str:
    """The first of several in one line, and how many more there are."""
    more = f" and {len(items) - named:,} more" if len(items) > named else ""
    return f"{'; '.join(map(str, items[:named]))}{more}"
