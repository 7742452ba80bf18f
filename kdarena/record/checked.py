"""JSON files with a checksum inside, which shows whether a file is whole and as it was written."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any, TypeVar

from kdarena.errors import Notice
from kdarena.files import write_atomically
from kdarena.plan.plain import from_plain

_T = TypeVar("_T")

FORM = {"checksum", "values"}
"""What is in a file."""


def checksum(text: str) -> str:
    """16 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def dumped(values: Any) -> str:
    """JSON as it is summed: without white space, in ASCII."""
    return json.dumps(values, separators=(",", ":"))


def write(path: Path, values: Any) -> None:
    """Write plain JSON values; raises ``OSError`` where they can't be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps({"checksum": checksum(dumped(values)), "values": values}, indent=1) + "\n")


def read(kind: type[_T], path: Path) -> _T | None:
    """The values of a file, or None where there is none that can be used; that there is one but it can't be used is said in a line.

    Nothing is said of a file without a checksum, which an earlier version wrote.

    Args:
        kind: their type, as :func:`kdarena.plan.plain.from_plain` takes it.
    """
    try:
        text = path.read_text(encoding="utf-8")
        document = json.loads(text)
        if isinstance(document, dict) and document.keys().isdisjoint(FORM):
            return None
        return from_plain(kind, _values(document))
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = error.strerror or str(error)
    except UnicodeDecodeError:
        reason = "it is not text"
    except json.JSONDecodeError:
        reason = "it is not whole" if text.strip() else "it is empty"
    except ValueError as error:
        reason = " ".join(str(error).split())
    warnings.warn(
        f"{path}: not used ({reason}); it is made again by the command that needs it", category=Notice, stacklevel=1
    )  # at one place, so that it is said once
    return None


def loaded(path: Path) -> Any:
    """The plain values of a file; raises ``OSError`` or ``ValueError`` where it can't be read, is not whole or was changed."""
    return _values(json.loads(path.read_text(encoding="utf-8")))


def _values(document: Any) -> Any:
    if not isinstance(document, dict) or document.keys() != FORM:
        raise ValueError("it is of another form")
    if document["checksum"] != checksum(dumped(document["values"])):
        raise ValueError("it was changed after it was written")
    return document["values"]
