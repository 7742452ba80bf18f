"""A double of CUDA graphs for the CPU: a step is recorded once, and replayed without its Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from kdarena.execute.capture import NotCaptured, Replay
from kdarena.execute.operations import Place, Recorder


class Replays:
    """Captures steps by their operations, as a CUDA graph does (:class:`kdarena.execute.capture.Capture`).

    A replay carries out the recorded operations on the tensors that there were, with the Python numbers that there were: a number that has
    changed since, or a tensor that a method has put in the place of another, is as it was at the capture.

    Args:
        checked: take each replayed step in Python too, from the same state, and compare all that both leave.
        tolerance: largest relative difference of the two.

    Attributes:
        captured, replayed: how many steps were.
    """

    def __init__(self, *, checked: bool = False, tolerance: float = 0.0):
        self.checked, self.tolerance = checked, tolerance
        self.captured = self.replayed = 0

    def aside(self) -> AbstractContextManager[None]:
        """See :meth:`kdarena.execute.capture.Capture.aside`."""
        return nullcontext()

    def take(self, step: Callable[[], None], generators: Sequence[torch.Generator]) -> Replay:
        """See :meth:`kdarena.execute.capture.Capture.take`."""
        recorder = Recorder()
        with recorder:
            step()
        if recorder.impossible is not None:
            raise NotCaptured(recorder.impossible)
        self.captured += 1
        generators = (torch.default_generator, *generators)

        def replay() -> None:
            self.replayed += 1
            if self.checked:
                _compare(recorder, step, generators, self.tolerance)
            else:
                carry_out(recorder)

        return replay


def carry_out(recorder: Recorder) -> None:
    """The recorded operations once more."""
    values: dict[Place, Tensor] = {}
    storages: dict[int | str, Tensor] = {}

    def tensor_at(place: Place) -> Tensor:
        if place.kind != "made":
            return recorder.kept[place]
        if place not in values:  # seen through another view than any operation gave
            values[place] = torch.as_strided(storages[place.storage], place.shape, place.stride, place.offset)
        return values[place]

    with torch.no_grad():
        for operation in recorder.operations:
            leaves = [tensor_at(leaf) if isinstance(leaf, Place) else leaf for leaf in operation.leaves]
            for place, result in zip(operation.results, operation.carry_out(leaves), strict=True):
                if place is not None and place.kind == "made":
                    values[place] = result
                    storages.setdefault(place.storage, result)


def _compare(recorder: Recorder, step: Callable[[], None], generators: Sequence[torch.Generator], tolerance: float) -> None:
    """A replay, and the same step in Python from the same state; raises ``AssertionError`` where they leave other values."""
    storages = {int(place.storage): tensor.untyped_storage() for place, tensor in recorder.kept.items()}
    before, drawn = {address: storage.clone() for address, storage in storages.items()}, [generator.get_state() for generator in generators]
    carry_out(recorder)
    replayed = {place: tensor.detach().clone() for place, tensor in recorder.kept.items()}
    after = [generator.get_state() for generator in generators]
    for address, storage in storages.items():
        storage.copy_(before[address])
    for generator, state in zip(generators, drawn, strict=True):
        generator.set_state(state)
    step()
    for place, value in replayed.items():
        if not torch.equal(value, recorder.kept[place]):
            torch.testing.assert_close(value, recorder.kept[place].detach(), rtol=tolerance, atol=tolerance, equal_nan=True)
    for generator, state in zip(generators, after, strict=True):
        assert torch.equal(generator.get_state(), state), "a replayed step draws other random numbers"
