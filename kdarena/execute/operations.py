"""The operations of a step as torch dispatches them: what a captured step repeats, and what it can't.

A capture repeats operations, not Python. So two steps whose operations, shapes, numbers and tensors are the same can be captured; what differs is why not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

READ_BACK = {
    "_local_scalar_dense",
    "_unique",
    "_unique2",
    "bincount",
    "equal",
    "is_nonzero",
    "masked_select",
    "nonzero",
    "unique_consecutive",
    "unique_dim",
    "unique_dim_consecutive",
}
"""Operations that wait for the device, or whose result has a size that is known only once it has answered."""
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
COPIES = {"_to_copy", "copy_", "_copy_from"}
TO_THE_HOST = {torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.cpu}
FROM_NUMBERS = "it makes a tensor of Python numbers in every step (torch.tensor or the like): make it once"


class Place(NamedTuple):
    """A tensor as an operation meets it, by where it is and not by its values.

    Attributes:
        kind: ``made`` in this step, ``given`` with the batch, or ``kept`` from before.
        storage: number of the storage among those made; name of what is given; address of what is kept.
        offset: in the storage; in what is given.
    """

    kind: str
    storage: int | str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


class Operation(NamedTuple):
    """One operation.

    Attributes:
        leaves: its arguments, flat, each tensor as its place.
        form: how they are put together: for each argument its keyword or None, and for a list the number of its leaves, else None.
        results: places of the tensors that it gave, None for what is no tensor.
    """

    call: Any
    leaves: tuple[Any, ...]
    form: tuple[tuple[str | None, int | None], ...]
    results: tuple[Place | None, ...]

    def carry_out(self, leaves: Sequence[Any]) -> list[Any]:
        """The operation on other leaves in the places of its own; its results, flat."""
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        rest = iter(leaves)
        for name, count in self.form:
            value = next(rest) if count is None else [next(rest) for _ in range(count)]
            if name is None:
                args.append(value)
            else:
                kwargs[name] = value
        return flat(self.call(*args, **kwargs))

    @property
    def name(self) -> str:
        """As ``aten::mul``."""
        return str(self.call._schema.name)


class Recorder:
    """Context that records the operations of what runs in it.

    Args:
        given: tensors by name that are other ones in every step: the batch's.
        device: where steps are computed; what is computed elsewhere would be no part of a capture.

    Attributes:
        operations: in their order.
        impossible: the first reason why they can't be captured, whatever other steps do; None: there is none.
        generators: that were drawn from by name.
        kept: the tensors that were there before, by place; this keeps them alive.
    """

    def __init__(self, given: Mapping[str, Tensor] | None = None, device: torch.device | None = None):
        self._device = (device or torch.device("cpu")).type
        self.operations: list[Operation] = []
        self.impossible: str | None = None
        self.generators: list[torch.Generator] = []
        self.kept: dict[Place, Tensor] = {}
        self.numbers: dict[Place, float] = {}
        """Values of kept tensors of one number on the CPU, as numbers become where torch wraps them."""
        self._given = [(name, _address(tensor), int(tensor.storage_offset()), _span(tensor)) for name, tensor in (given or {}).items()]
        self._made: dict[int, int] = {}
        self._references: dict[int, StorageWeakRef] = {}  # so that no address is used twice
        self._modes = (_Methods(self), _Operations(self))

    def __enter__(self) -> Recorder:
        for mode in self._modes:
            mode.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(kind, error, trace)  # type: ignore[no-untyped-call]

    def alive(self) -> bool:
        """Whether a tensor that was made is still held by somebody."""
        return any(not self._references[address].expired() for address in self._made)

    def refuse(self, reason: str) -> None:
        """Remember why these operations can't be captured."""
        self.impossible = self.impossible or reason

    def add(self, call: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Carry out an operation and record it."""
        if call._schema.name.startswith("profiler::"):  # marks for a profiler, as optimisers set them
            return call(*args, **kwargs)
        reason = reason_against(call, args, kwargs)
        if reason is not None:
            self.refuse(reason)
        named = [*((None, value) for value in args), *kwargs.items()]
        form = tuple((name, len(value) if isinstance(value, (list, tuple)) else None) for name, value in named)
        leaves = [leaf for _, value in named for leaf in flat(value)]
        places = tuple(self._place(leaf, result=False) if isinstance(leaf, Tensor) else leaf for leaf in leaves)
        self.generators += [leaf for leaf in leaves if isinstance(leaf, torch.Generator) and leaf not in self.generators]
        given = call(*args, **kwargs)
        tensors = [leaf if isinstance(leaf, Tensor) else None for leaf in flat(given)]
        if any(tensor is not None and tensor.device.type != self._device for tensor in tensors):
            self.refuse(f"{call._schema.name} computes on another device than the run's")
        results = tuple(None if tensor is None else self._place(tensor, result=True) for tensor in tensors)
        self.operations.append(Operation(call, places, form, results))
        return given

    def _place(self, tensor: Tensor, *, result: bool) -> Place:
        address = _address(tensor)
        if address not in self._references:
            self._references[address] = StorageWeakRef(tensor.untyped_storage())
            if result:
                self._made[address] = len(self._made)
        offset, layout = int(tensor.storage_offset()), (tuple(tensor.shape), tensor.stride(), tensor.dtype)
        if address in self._made:
            return Place("made", self._made[address], offset, *layout)
        place = Place("kept", address, offset, *layout)
        for name, storage, begin, span in self._given:
            if address == storage and begin <= offset < begin + span:  # batches may be parts of one storage
                place = Place("given", name, offset - begin, *layout)
                break
        if place not in self.kept:
            self.kept[place] = tensor
            if tensor.dim() == 0 and tensor.device.type == "cpu" and not tensor.is_complex():
                self.numbers[place] = float(tensor)
        return place


class _Operations(TorchDispatchMode):
    def __init__(self, recorder: Recorder):
        super().__init__()  # type: ignore[no-untyped-call]
        self._recorder = recorder

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        return self._recorder.add(func, args, kwargs or {})


class _Methods(TorchFunctionMode):
    """Of tensors on the CPU these are no operations that are dispatched."""

    def __init__(self, recorder: Recorder):
        super().__init__()
        self._recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        if func in TO_THE_HOST:
            self._recorder.refuse(f"Tensor.{func.__name__} copies to the host")
        return func(*args, **(kwargs or {}))


def reason_against(call: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """Why an operation can't be captured, whatever other steps do; None: it can."""
    name = call._schema.name.removeprefix("aten::")
    if name in READ_BACK:
        return f"{name} reads a value back to the host"
    if name == "repeat_interleave" and call._overloadname == "Tensor" and not kwargs.get("output_size"):
        return "repeat_interleave by a tensor without output_size has a shape that depends on data"
    if name in INDEXING and any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]):
        return f"{name} by a mask has a shape that depends on data"
    if name == "lift_fresh":
        return FROM_NUMBERS
    if name in COPIES:
        source = args[0] if name == "_to_copy" else args[1]
        target = torch.device(kwargs.get("device") or source.device) if name == "_to_copy" else args[0].device
        if source.device.type != target.type:
            return FROM_NUMBERS if source.device.type == "cpu" else f"{name} copies to the host"
    return None


def difference(first: Recorder, second: Recorder) -> str | None:
    """Why the operations of one step can't stand for those of the next; None: they are the same."""
    for before, after in zip(first.operations, second.operations, strict=False):
        if before.call is not after.call or before.form != after.form or len(before.leaves) != len(after.leaves):
            return f"its operations change from step to step ({before.name}, then {after.name})"
        for leaf, other in zip(before.leaves, after.leaves, strict=True):
            reason = _changed(leaf, other, before.name, first, second)
            if reason is not None:
                return reason
        if before.results != after.results:
            return f"shapes change from step to step ({before.name})"
    if len(first.operations) != len(second.operations):
        return f"the number of its operations changes from step to step ({len(first.operations)}, then {len(second.operations)})"
    return None


def _changed(leaf: Any, other: Any, operation: str, first: Recorder, second: Recorder) -> str | None:
    if isinstance(leaf, Place) and isinstance(other, Place):
        if leaf == other:
            return None
        if leaf in first.numbers and other in second.numbers:
            return _changed(first.numbers[leaf], second.numbers[other], operation, first, second)
        if leaf.shape != other.shape:
            return f"shapes change from step to step ({operation} of {list(leaf.shape)}, then {list(other.shape)})"
        return f"it works on another tensor in every step ({operation}): keep one and update it in place"
    if leaf is other or (type(leaf) is type(other) and leaf == other):
        return None
    if isinstance(leaf, float) and isinstance(other, float) and math.isnan(leaf) and math.isnan(other):
        return None
    if isinstance(leaf, (int, float)) and isinstance(other, (int, float)):
        return f"a Python number changes from step to step ({operation} by {leaf:.6g}, then {other:.6g}): keep it in a tensor"
    return f"an argument changes from step to step ({operation})"


def flat(value: Any) -> list[Any]:
    """What an argument or a result of an operation consists of: itself, or the items of a list."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _span(tensor: Tensor) -> int:
    """Numbers of its storage from its first to its last, at least one."""
    return 1 + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True) if size > 0)


def _address(tensor: Tensor) -> int:
    """Of its storage; unique among those that are referred to."""
    return int(tensor.untyped_storage()._cdata)
