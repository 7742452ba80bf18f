"""Independent seeds for everything random in a run, derived from the run's one seed and a purpose."""

from __future__ import annotations

import hashlib


def derive(seed: int, *purpose: object) -> int:
    """A seed in [0, 2^63) for one purpose of a run, the same on every machine.

    Streams for different purposes are unrelated, so what a method draws changes neither the student's initialisation
    nor the data order nor the augmentation.
    """
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
