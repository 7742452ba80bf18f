"""What a method leaves changed in its process, and how it is put back after a check."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy
import torch

from kdarena.engines.state import State
from kdarena.testing.finding import Finding

SHOWN = 3


def left(state: State, error: str | None = None) -> Finding:
    """Whether a process is as it was."""
    changes = [change for change in state.changes() if not change.endswith("running") or error is None]
    if not changes:
        return Finding("process", "ok", "nothing left changed: dtype, modes, flags, threads, environment")
    more = f" and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
    return Finding(
        "process",
        "failed",
        f"it leaves {', '.join(changes[:SHOWN])}{more}, with which the next run would begin; set it for a block (with …) alone, or put it back",
    )


@contextmanager
def put_back() -> Iterator[None]:
    """What is commonly changed for a whole process is afterwards as it was before."""
    cudnn = torch.backends.cudnn
    before = (
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.get_num_threads(),
        (cudnn.enabled, cudnn.benchmark, cudnn.deterministic),
        torch.get_deterministic_debug_mode(),
        torch.is_autocast_enabled("cpu"),
        dict(os.environ),
        os.getcwd(),
        (torch.get_rng_state(), random.getstate(), numpy.random.get_state()),
    )
    try:
        yield
    finally:
        dtype, gradients, threads, flags, deterministic, autocast, environment, folder, draws = before
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradients)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        cudnn.enabled, cudnn.benchmark, cudnn.deterministic = flags
        torch.set_deterministic_debug_mode(deterministic)
        torch.set_autocast_enabled("cpu", autocast)
        if dict(os.environ) != environment:
            os.environ.clear()
            os.environ.update(environment)
        os.chdir(folder)
        torch.set_rng_state(draws[0])
        random.setstate(draws[1])
        numpy.random.set_state(draws[2])
