"""Learning rates that a captured step can follow: tensors in the place of an optimiser's Python numbers."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

FUSED = (SGD, Adam, AdamW)
"""Optimisers with a kernel that reads the rate from the device."""


def rate_tensors(optimizer: Optimizer) -> list[Tensor] | None:
    """Make the rate of each parameter group a tensor, and the optimiser one that can be captured; None, and nothing is changed, where it can't be.

    On a CPU a rate is in fp64, in which the kernels there compute with it: a step is the same bit for bit as with the number.
    """
    if any("lr" not in group or not (_can_fuse(optimizer) or "capturable" in group) for group in optimizer.param_groups):
        return None
    rates = []
    for group in optimizer.param_groups:
        device = group["params"][0].device
        group["lr"] = torch.tensor(float(group["lr"]), dtype=torch.float64 if device.type == "cpu" else torch.float32, device=device)
        if _can_fuse(optimizer):
            group["fused"], group["foreach"] = True, False
        if "capturable" in group and device.type != "cpu":
            group["capturable"] = True
        for parameter in group["params"]:
            count = optimizer.state[parameter].get("step") if parameter in optimizer.state else None
            if isinstance(count, Tensor):
                optimizer.state[parameter]["step"] = count.to(device)
        rates.append(group["lr"])
    return rates


def _can_fuse(optimizer: Optimizer) -> bool:
    return isinstance(optimizer, FUSED) and all("fused" in group and not group.get("differentiable") for group in optimizer.param_groups)
