"""Code that runs load in a worker and that is in no plugin's digest, so that a row would not say that it was changed."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection

from kdarena.method.modules import own_modules


class LoadedCode:
    """The modules that this process had loaded when this was made, and those of one's own that each method has loaded since."""

    def __init__(self) -> None:
        self._seen = frozenset(sys.modules)
        self._by_method: dict[str, list[str]] = {}

    def notes(self, method: str, known: Collection[str]) -> tuple[str, ...]:
        """What the row of a run that has just ended says of it, a line or none.

        A module is loaded once in a process, so that what a method has loaded is also said of its later runs.

        Args:
            known: files that are part of a plugin's digest.
        """
        loaded = self._by_method.setdefault(method, [])
        new = sys.modules.keys() - self._seen
        if new:
            self._seen = frozenset(sys.modules)
            loaded += [file for file in own_modules(new) if file not in known]
        if not loaded:
            return ()
        names, part = ", ".join(map(os.path.basename, loaded)), "is not part" if len(loaded) == 1 else "are not part"
        it = "it" if len(loaded) == 1 else "them"
        return (f"loads {names} while it runs, which {part} of its code's digest: import {it} at the top of the file",)
