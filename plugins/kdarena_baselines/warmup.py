"""The warm-up of a term's weight, which DKD and ReviewKD share."""

from __future__ import annotations


def warmup_factor(progress: float, warmup: float) -> float:
    """Rises linearly from 0 to 1 while ``progress`` goes from 0 to ``warmup``, then stays; 1 where there is no warm-up.

    The public codes count epochs, ``min(epoch / 20, 1)`` of 240, from 1 (mdistiller) or from 0 (dvlab's ReviewKD); as a share of the training it fits any budget.
    """
    return 1.0 if progress >= warmup else progress / warmup
