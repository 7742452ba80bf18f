"""Modes of a network that are put back as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(network: nn.Module, *, gradients: bool = False) -> Iterator[None]:
    """Eval mode, without gradients unless asked for; afterwards every module is in the mode in which it was."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.set_grad_enabled(gradients):
            yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def probing(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Eval mode in which a network can be called although neither its buffers nor any generator change."""
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), evaluating(network):
        yield
        for buffer, before in buffers:
            buffer.copy_(before)
