"""The digest of the harness's code that can change a number: part of every run's key, so that two versions of it never share a row."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

PARTS = ("execute", "method", "tracks", "losses.py", "params.py", "schedules.py", "seeds.py", "plan/budget.py", "plan/spec.py")
"""Folders and files of the package that a run is computed by; the rest plans, records and shows."""


@functools.cache
def harness_digest() -> str:
    """:func:`code_digest` of this package, as it was when this process first asked."""
    return code_digest()


def code_digest(package: Path = Path(__file__).parents[1]) -> str:
    """16 hexadecimal digits of the Python files of :data:`PARTS`, the same wherever the package is; raises ``FileNotFoundError`` where one is missing."""
    files = [file for part in PARTS for file in (sorted((package / part).rglob("*.py")) if (package / part).is_dir() else [package / part])]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
