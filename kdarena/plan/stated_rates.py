"""How fast a GPU trains, as it was measured once and is stated here: for whoever plans a command for a GPU that is not at hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Way = Literal["eager", "captured", "compiled", "compiled and captured"]
"""How a step is taken: by Python, or as one CUDA graph; with networks as they are, or compiled."""

NEXT_BEST: Mapping[Way, tuple[Way, ...]] = {
    "eager": ("eager", "compiled"),
    "captured": ("captured", "compiled and captured"),
    "compiled": ("compiled", "eager"),
    "compiled and captured": ("compiled and captured", "captured"),
}
"""The rates that are taken for a way, the first that is stated."""
LEAST_PART = 0.1
"""Of the measured step, that a step of the smallest student is taken to need; this is not measured."""
SIDE_BY_SIDE = 8
"""Runs that share a GPU in the rates of several."""


@dataclass(frozen=True)
class StatedRate:
    """What a step of knowledge distillation (``kd``, one teacher) reached on one GPU.

    Attributes:
        task: its pair of networks.
        device, day: where and when it was measured.
        batch: images a step.
        student_flops, kd_flops: operations of a step of the plain student and of ``kd``, as counted.
        images: a second, by the way and the number of runs side by side.
    """

    task: str
    device: str
    day: str
    batch: int
    student_flops: float
    kd_flops: float
    images: Mapping[tuple[Way, int], float]

    def way(self, wanted: Way) -> Way:
        """The way whose rate is taken where this one is wanted."""
        return next(way for way in NEXT_BEST[wanted] if (way, 1) in self.images)

    def student_seconds(self, flops: float, wanted: Way) -> float:
        """Seconds of a step of a student of so many operations, alone on the GPU: in proportion to them, but a small step is one of many small kernels."""
        step = self.batch / self.images[self.way(wanted), 1]
        return step * max(flops / self.kd_flops, LEAST_PART)

    def gain(self, wanted: Way, together: int) -> float:
        """How many times as fast so many runs side by side end as one after the other; 1 where that was not measured.

        Between one run and those that were measured on a straight line over the logarithm of their number, and from there on constant.
        """
        way = self.way(wanted)
        most = self.images.get((way, SIDE_BY_SIDE))
        if most is None or together <= 1:
            return 1.0
        return float((most / self.images[way, 1]) ** min(1.0, math.log(together) / math.log(SIDE_BY_SIDE)))


STATED = (
    StatedRate(
        "cifar100:resnet56-resnet20",
        "NVIDIA H100",
        "2026-11-27",
        64,
        15_617_851_392.0,
        31_714_312_192.0,
        {
            ("eager", 1): 3322.0,
            ("captured", 1): 21948.0,
            ("captured", SIDE_BY_SIDE): 65106.0,
            ("compiled and captured", 1): 30985.0,
            ("compiled and captured", SIDE_BY_SIDE): 72986.0,
        },
    ),
    StatedRate(
        "cifar100:resnet32x4-resnet8x4",
        "NVIDIA H100",
        "2026-11-27",
        64,
        67_882_057_728.0,
        206_511_276_032.0,
        {("compiled", 1): 6574.0, ("compiled and captured", 1): 36089.0, ("compiled and captured", SIDE_BY_SIDE): 52731.0},
    ),
)
"""Of a step of ``kd`` captured by hand as one CUDA graph, at e43e2c4: bf16 under autocast, channels_last."""


def rate_for(student_flops: float) -> StatedRate:
    """The stated rate of the student whose step has the most similar number of operations."""
    return min(STATED, key=lambda rate: abs(math.log(student_flops / rate.student_flops)))
