"""Python's collector of reference cycles. It looks at every object of a process: with torch loaded that takes as long as hundreds of steps of a small network."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

ALLOCATIONS = 50_000
"""New objects after which a process that imports much has the youngest looked at; Python's own number is 700."""


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the collector."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def collect_seldom() -> None:
    """For a process that imports much and does little else: what an import makes stays, and is looked at for nothing."""
    gc.set_threshold(ALLOCATIONS, *gc.get_threshold()[1:])


def leave_out_all() -> None:
    """Collect what there is to collect and leave out the rest from now on: what a worker has loaded stays, and is looked at for nothing."""
    if gc.isenabled():
        gc.unfreeze()
        gc.collect()
    gc.enable()
    gc.freeze()
