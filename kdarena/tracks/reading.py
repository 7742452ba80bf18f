"""Outputs that are read part by part: what of them a method reads is seen, or only that is there.

A part is named by its field of :class:`~kdarena.tracks.values.Outputs`; a feature map, an attention layer, an exit or a hidden state by its field with
its own name or number behind a slash: ``logits``, ``features/stage2``, ``hidden/4``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

from torch import Tensor

from kdarena.tracks.values import FeatureMaps, Outputs

FIELDS = frozenset(field.name for field in dataclasses.fields(Outputs))
SEQUENCES = ("attentions", "exits", "exit_embeddings", "hidden")
"""Fields that are tuples of tensors."""
MAPS = "features"


@dataclass(frozen=True)
class Layout:
    """What a network's outputs are made of.

    Attributes:
        maps: names of its feature maps.
        counts: tensors of each field that is a tuple.
        absent: fields that are None.
    """

    maps: tuple[str, ...]
    counts: dict[str, int]
    absent: frozenset[str]

    @staticmethod
    def of(outputs: Outputs) -> Layout:
        """The layout of what a network gave."""
        counts = {name: len(getattr(outputs, name)) for name in SEQUENCES}
        return Layout(tuple(outputs.features), counts, frozenset(name for name in FIELDS if getattr(outputs, name) is None))

    def parts(self, read: Sequence[str]) -> tuple[str, ...]:
        """The parts that are there of those that were read; of a tuple of which no tensor was asked for by its number, all."""
        wanted: list[str] = []
        for name in read:
            field, _, own = name.partition("/")
            if field in SEQUENCES and not own:
                numbered = any(other.startswith(f"{field}/") for other in read)
                wanted += [] if numbered else [f"{field}/{number}" for number in range(self.counts[field])]
            elif (field == MAPS and own not in self.maps) or (field in SEQUENCES and int(own) >= self.counts[field]):
                continue
            elif name not in self.absent:
                wanted.append(name)
        return tuple(wanted)


def part_of(outputs: Outputs, name: str) -> Tensor:
    """A part by its name."""
    field, _, own = name.partition("/")
    value = getattr(outputs, field)
    part: Tensor = value[own] if field == MAPS else value[int(own)] if own else value
    return part


class PartialOutputs(Outputs):
    """Outputs whose fields are made when they are first read.

    Args:
        layout: of the whole.
        read: gives a part by its name; called once for each.
        asked: called with each field that is a tuple when it is read.
    """

    def __init__(self, layout: Layout, read: Callable[[str], Tensor], asked: Callable[[str], Sequence[Tensor | None]]):
        self.__dict__["_made"] = _Parts(layout, read, asked)

    def __getattribute__(self, name: str) -> Any:
        made = object.__getattribute__(self, "__dict__")
        if name not in FIELDS:
            return object.__getattribute__(self, name)
        if name not in made:
            made[name] = made["_made"].field(name)
        return made[name]


class _Parts:
    """Makes fields of outputs."""

    def __init__(self, layout: Layout, read: Callable[[str], Tensor], asked: Callable[[str], Sequence[Tensor | None]]):
        self._layout, self._read, self._asked = layout, read, asked
        self._parts: dict[str, Tensor] = {}

    def field(self, name: str) -> Any:
        if name == MAPS:
            return _Maps(self._layout.maps, self._part)
        if name in SEQUENCES:
            return _Tensors(self._asked(name), name, self._part) if self._layout.counts[name] else ()
        return None if name in self._layout.absent else self._part(name)

    def _part(self, name: str) -> Tensor:
        if name not in self._parts:
            self._parts[name] = self._read(name)
        return self._parts[name]


class _Maps(FeatureMaps):
    """Feature maps that are made when they are first read."""

    def __init__(self, names: Sequence[str], read: Callable[[str], Tensor]):
        super().__init__({})
        self._names, self._read = names, read

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        return self._read(f"{MAPS}/{name}")

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class _Tensors(tuple[Tensor, ...]):
    """A tuple whose tensors are made when they are asked for by their number.

    What takes it for a plain tuple, as torch does where it stacks one, sees the tensors that it was made with.
    """

    _name: str
    _part: Callable[[str], Tensor]

    def __new__(cls, tensors: Sequence[Tensor | None], name: str, part: Callable[[str], Tensor]) -> _Tensors:
        made = super().__new__(cls, tensors)  # type: ignore[arg-type]
        made._name, made._part = name, part
        return made

    def __getitem__(self, key: SupportsIndex | slice) -> Any:
        if isinstance(key, slice):
            return tuple(self[number] for number in range(*key.indices(len(self))))
        return self._part(f"{self._name}/{range(len(self))[key]}")

    def __iter__(self) -> Iterator[Tensor]:
        return (self[number] for number in range(len(self)))


def noted(outputs: Outputs, notes: set[str]) -> Outputs:
    """The same outputs, which add to ``notes`` what is read of them."""

    def read(name: str) -> Tensor:
        notes.add(name)
        return part_of(outputs, name)

    def asked(name: str) -> Sequence[Tensor]:
        notes.add(name)
        tensors: tuple[Tensor, ...] = getattr(outputs, name)
        return tensors

    return PartialOutputs(Layout.of(outputs), read, asked)
