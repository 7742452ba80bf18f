"""The terms of the losses of a phase, on the device until somebody looks at them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Name = tuple[str, str]
"""Of an update and of a term."""

ROWS = 50
"""Steps that a ring holds: as many as lie between two looks."""


class Ring:
    """Terms of the last steps in memory that is allocated once, written without the host: what a captured step can do.

    Attributes:
        names: of the terms of a step, in order.
        counts: numbers of the steps that were written and not yet read.
    """

    def __init__(self, names: Sequence[Name], device: torch.device):
        self.names = tuple(names)
        self.counts: list[int] = []
        self._values = torch.zeros(ROWS, len(names), device=device)
        self._row = torch.zeros(1, dtype=torch.int64, device=device)
        self._next = 0

    def write(self, terms: Sequence[Tensor]) -> None:
        """Write the terms of a step into the next row; only operations on the device, so that a captured step can do it."""
        self._values.index_copy_(0, self._row, torch.stack([term.detach().float() for term in terms]).unsqueeze(0))
        self._row.add_(1).remainder_(ROWS)

    def written(self, count: int) -> bool:
        """Say that step ``count`` has written its row; returns whether the ring is full."""
        self.counts.append(count)
        self._next += 1
        return len(self.counts) == ROWS

    def unread(self) -> Tensor:
        """What was written and not yet read [steps, terms]."""
        rows = [(self._next - len(self.counts) + position) % ROWS for position in range(len(self.counts))]
        return self._values[rows]


class StepTerms:
    """Collects the terms of each step and reads them with one synchronisation."""

    def __init__(self) -> None:
        self._values: dict[Name, list[tuple[int, Tensor]]] = defaultdict(list)
        self._rings: dict[tuple[Name, ...], Ring] = {}
        self._read: dict[Name, list[tuple[int, float]]] = defaultdict(list)

    def add(self, name: Name, count: int, value: Tensor) -> None:
        """A term of step ``count`` as a tensor of its own, which is kept."""
        self._values[name].append((count, value))

    def ring(self, names: Sequence[Name], device: torch.device) -> Ring:
        """The ring of steps with these terms."""
        key = tuple(names)
        if key not in self._rings:
            self._rings[key] = Ring(key, device)
        return self._rings[key]

    def written(self, ring: Ring, count: int) -> None:
        """Step ``count`` has written its terms into a ring."""
        if ring.written(count):
            self._to_host()

    def read(self) -> Mapping[Name, list[tuple[int, float]]]:
        """Step and value of each term since the last look, in the order of the steps: one synchronisation."""
        self._to_host()
        read, self._read = self._read, defaultdict(list)
        return {name: sorted(pairs, key=lambda pair: pair[0]) for name, pairs in read.items()}

    def clear(self) -> None:
        """Forget what was not read."""
        self._values.clear()
        self._read.clear()
        for ring in self._rings.values():
            ring.counts.clear()

    def _to_host(self) -> None:
        rings = [ring for ring in self._rings.values() if ring.counts]
        parts = [torch.stack([value.float() for _, value in pairs]) for pairs in self._values.values()]
        parts += [ring.unread().T.flatten() for ring in rings]
        if not parts:
            return
        values = iter(torch.cat(parts).tolist())
        for name, pairs in self._values.items():
            self._read[name] += [(count, next(values)) for count, _ in pairs]
        for ring in rings:
            for name in ring.names:
                self._read[name] += [(count, next(values)) for count in ring.counts]
        self._values.clear()
        for ring in rings:
            ring.counts.clear()
