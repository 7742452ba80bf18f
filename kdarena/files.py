"""Files that are replaced whole: whoever looks sees the old one or the new one, never a part of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replace_atomically(path: Path) -> Iterator[Path]:
    """Gives a path in the same folder to write to, which takes the place of ``path`` at the end of the block.

    Where the block raises, ``path`` is left as it was and what was written is removed.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def digest_of(path: Path) -> str:
    """16 hexadecimal digits of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file's whole content, text as UTF-8; it is whole also after a loss of power."""
    with replace_atomically(path) as partial, partial.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
