"""An SQLite database as an address, and whether it can be used."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import tempfile
from pathlib import Path

LOCKED_SECONDS = 5.0
"""How long a database that another program holds is waited for."""

_PLAIN = re.compile(r"[A-Za-z0-9_./~+=,-]*")
"""Paths that mean in an address what they mean on the disk."""
_SIDE_FILES = ("-journal", "-wal", "-shm")
_NOT_ITS_FAULT = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_NOMEM")


class Address:
    """The address of a database, as ``sqlite:////tmp/out/mlflow.db``.

    In an address ``?``, ``#``, ``%`` and others are no characters of a path, and a line break or bytes that are no text are
    lost. A path with any of them is reached through a link of a plain name, which lives as long as this value.
    """

    def __init__(self, path: Path):
        """
        Args:
            path: the database, whose folder exists.

        Raises:
            OSError: no link can be made in the temporary folder.
        """
        path = path.resolve()
        self._links: tempfile.TemporaryDirectory[str] | None = None
        if not _PLAIN.fullmatch(path.as_posix()):
            self._links = tempfile.TemporaryDirectory(prefix="kdarena-", dir=_plain_folder())
            link = Path(self._links.name, "out")
            link.symlink_to(path.parent)
            path = link / path.name
        self.uri = f"sqlite:///{path.as_posix()}"


def _plain_folder() -> str:
    folder = tempfile.gettempdir()
    return folder if _PLAIN.fullmatch(folder) else "/tmp"


def problem(path: Path, table: str) -> str | None:
    """Why a database can't be used, in a few words; None where it can.

    Args:
        table: one that it has in any case.

    Raises:
        sqlite3.OperationalError: that can't be known, as while another program holds it.
    """
    if not path.is_file():
        return "it is not a file"
    if not path.stat().st_size:
        return "it is empty"
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=LOCKED_SECONDS, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            (said,) = database.execute("PRAGMA quick_check(1)").fetchone()
            there = database.execute("SELECT count(*) FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
            database.execute("ROLLBACK")
    except sqlite3.DatabaseError as error:
        if (error.sqlite_errorname or "").startswith(_NOT_ITS_FAULT):
            raise
        return str(error)
    if said != "ok":
        return "it is damaged"
    return None if there else "it has no tables"


def move_aside(path: Path, aside: Path) -> None:
    """Move a database away with the files next to it, of which SQLite would write parts into the next database of that name.

    Raises:
        OSError: it can't be moved.
    """
    for suffix in ("", *_SIDE_FILES):
        if (side := path.with_name(path.name + suffix)).exists():
            side.replace(aside.with_name(aside.name + suffix))


def remove_side_files(path: Path) -> None:
    """Remove what is left of a database that is gone."""
    for suffix in _SIDE_FILES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
