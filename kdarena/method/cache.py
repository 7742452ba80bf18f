"""What was found out about code, kept between commands in the user's cache by the digest of what it is about."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

UNUSED_DAYS = 60
"""Entries that were not written for so long are deleted; what is still needed is found out again."""

NO_FOLDER = (OSError, RuntimeError, KeyError)
"""What a folder that can't be used raises, and a user without a home and without an entry among the users."""


def read(key: str) -> Any:
    """What is kept under a key, or None: also where it can't be read."""
    try:
        return json.loads((folder() / f"{key}.json").read_bytes())
    except (ValueError, *NO_FOLDER):
        return None


def write(key: str, value: Any) -> None:
    """Keep a JSON value, whole or not at all; where nothing can be written, nothing is kept."""
    with contextlib.suppress(*NO_FOLDER):
        place = folder() / f"{key}.json"
        partial = place.with_name(f"{key}.{os.getpid()}.partial")  # two commands may write one key at once
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_text(json.dumps(value))
            os.replace(partial, place)
        except OSError:
            partial.unlink(missing_ok=True)
            raise


def tidy() -> None:
    """Delete what was written long ago: every version of a file leaves an entry."""
    oldest = time.time() - UNUSED_DAYS * 86400
    with contextlib.suppress(*NO_FOLDER):
        for entry in os.scandir(folder()):
            if entry.stat().st_mtime < oldest:
                os.unlink(entry.path)


def folder() -> Path:
    """Where entries lie; raises one of :data:`NO_FOLDER` where that is nowhere."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if os.path.isabs(home) else Path.home() / ".cache") / "kdarena" / "plugins"
