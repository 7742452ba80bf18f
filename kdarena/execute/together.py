"""Runs that train side by side in one process, block by block in turn, each as if it were alone."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from kdarena.execute.device_time import DeviceTime
from kdarena.execute.memory import Memory
from kdarena.execute.turns import Own
from kdarena.execute.workspace import Workspace
from kdarena.plan.spec import RunResult, RunSpec


class Disturbed(Exception):
    """Something in the process is not as it was, so that no run can go on next to the one that did it; the text says what."""


@dataclass(frozen=True)
class Group:
    """What runs that train side by side share.

    Attributes:
        size: how many there are.
        device_time: of all of them.
        memory: of all of them.
    """

    size: int
    device_time: DeviceTime
    memory: Memory


Blocks = Generator[None, None, RunResult]
"""A run that waits after each block of steps, and returns its result at its end."""
Begin = Callable[[RunSpec, Group], Blocks]


class _Turns:
    """A run under way.

    Args:
        own: what belongs to it alone; None where it is the only one.
    """

    def __init__(self, spec: RunSpec, blocks: Blocks, own: Own | None):
        self.spec, self._blocks, self._own = spec, blocks, own

    def take(self) -> RunResult | None:
        """One block of steps; the result where that was the end of the run."""
        with self._own.in_place() if self._own is not None else nullcontext():
            try:
                next(self._blocks)
            except StopIteration as end:
                result: RunResult = end.value
                return result
        return None

    def give_up(self) -> None:
        """End it without a result."""
        with self._own.in_place() if self._own is not None else nullcontext():
            self._blocks.close()


def take_turns(specs: Sequence[RunSpec], workspace: Workspace, begin: Begin) -> Iterator[tuple[RunSpec, RunResult]]:
    """Take one block of each run in turn; gives each result as soon as its run ends.

    Where memory runs out, the runs that have not ended begin anew, half as many at a time.

    Raises:
        Disturbed: with others under way a run has changed something in the process, or made the device useless. Those whose result was not
            given have to be run again, each alone in a process.
    """
    left, most = list(specs), len(specs)
    while left:
        group = left[:most]
        enough = yield from _take_turns(group, left, workspace, begin)
        if not enough:
            most = max(1, len(group) // 2)
            _free(torch.device(workspace.device))


def _take_turns(group: Sequence[RunSpec], left: list[RunSpec], workspace: Workspace, begin: Begin) -> Generator[tuple[RunSpec, RunResult], None, bool]:
    """The turns of one group; returns whether memory was enough for it.

    Args:
        left: specs without a result, from which each is taken that has one.
    """
    device, several = torch.device(workspace.device), len(group) > 1
    shared = Group(len(group), DeviceTime(device), Memory(device))
    runs = deque(_Turns(spec, begin(spec, shared), Own(workspace) if several else None) for spec in group)
    while runs:
        run = runs.popleft()
        result = run.take()
        if several and result is not None and result.status == "oom":
            for other in runs:
                other.give_up()
            return False
        if runs and result is not None and result.status == "error" and poisoned(workspace.device):
            raise Disturbed("the device can't be used any more after an error in one of them")
        changes = workspace.turned(run.spec.method) if runs else ()
        if result is None:
            runs.append(run)
        else:
            left.remove(run.spec)
            yield run.spec, result
        if changes:
            raise Disturbed(f"{run.spec.method} of seed {run.spec.seed} left {changes[0]}")
    return True


def poisoned(device: str) -> bool:
    """Whether a kernel that failed has made this process useless: after an assertion on a GPU every later call there fails."""
    if not device.startswith("cuda"):
        return False
    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        return True
    return False


def _free(device: torch.device) -> None:
    """Give back what runs have held that are no more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
