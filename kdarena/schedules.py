"""Weights of a method's loss that change in the course of a run, as functions of its progress.

The learning rate of a task is elsewhere: its shape in :mod:`kdarena.tracks.recipe`, its values in the ``cards.py`` of each track.

Each takes ``step.progress`` (of the phase) or ``step.run_progress`` (of the budget), a 0-dimensional tensor in [0, 1), and
returns one. They are written with tensor operations and no ``if`` on a value, so that a step can be captured once and replayed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor


def linear(progress: Tensor, start: float, end: float, *, begin: float = 0.0, length: float = 1.0) -> Tensor:
    """From ``start`` to ``end`` along a straight line, and constant before and after it.

    Args:
        begin: progress at which the line begins.
        length: part of the progress that the line takes; 0: a jump at ``begin``.
    """
    if length == 0:
        return torch.where(progress < begin, start, end).to(progress.dtype)
    return start + (end - start) * ((progress - begin) / length).clamp(0, 1)


def cosine(progress: Tensor, start: float, end: float) -> Tensor:
    """From ``start`` to ``end`` along half a cosine (Loshchilov and Hutter 2017, arXiv 1608.03983, equation 5, without restarts)."""
    return end + 0.5 * (1 + torch.cos(math.pi * progress)) * (start - end)


def ramp_up(progress: Tensor, length: float) -> Tensor:
    """exp(−5 · (1 − progress / length)²), and 1 from ``length`` on (Laine and Aila 2017, arXiv 1610.02242).

    Args:
        length: part of the progress over which it rises; 0: it is 1 from the start.
    """
    if length == 0:
        return torch.ones_like(progress)
    return torch.exp(-5 * (1 - (progress / length).clamp(max=1)) ** 2)


def piecewise(progress: Tensor, points: Sequence[tuple[float, float]]) -> Tensor:
    """Linear between points (progress, value) in the order of their progress, and constant before the first and after the last."""
    value = torch.full_like(progress, points[0][1])
    for (begin, low), (end, high) in pairwise(points):
        value = value + linear(progress, 0.0, high - low, begin=begin, length=end - begin)
    return value


def one_cycle(progress: Tensor, *, start: float = 0.1, rise: float = 1 / 3, fall: float = 2 / 3, end: float = 1e-4) -> Tensor:
    """A factor that rises linearly from ``start`` to 1 until ``rise``, falls back to ``start`` until ``fall`` and on to ``end``
    (Smith and Topin 2017, arXiv 1708.07120)."""
    return piecewise(progress, ((0.0, start), (rise, 1.0), (fall, start), (1.0, end)))


def curve(schedule: Callable[[Tensor], Tensor]) -> Callable[[float], float]:
    """A schedule as the curve of a learning rate (``Update.curve``), which the harness evaluates on the host."""
    return lambda progress: float(schedule(torch.tensor(progress, dtype=torch.float64)))
