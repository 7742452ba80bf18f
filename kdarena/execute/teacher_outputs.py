"""Outputs of frozen teachers that are computed once for each view of a training sample, kept by a worker, and looked up by its runs.

What is kept is what methods read of them, as they would have had it: a part that is a number of 16 bits is kept as one. Rows are computed in batches
that follow from the task alone, so that a run's numbers don't depend on what ran before it in the worker.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdarena.execute.memory import free_bytes
from kdarena.tracks.measure import Stopwatch
from kdarena.tracks.reading import SEQUENCES, Layout, PartialOutputs, part_of
from kdarena.tracks.task import Task
from kdarena.tracks.values import Batch, Outputs

SHARE = 1 / 4
"""Part of what is free of a memory that outputs may take."""
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Asked:
    """A teacher, and what is read of it.

    Attributes:
        key: digest of its weights.
        parts: names of what a method reads, see :mod:`kdarena.tracks.reading`.
    """

    key: str
    network: nn.Module
    parts: tuple[str, ...]


@dataclass
class Table:
    """One part of a teacher's outputs on all views [V·N, …].

    Attributes:
        rows: the values; maps in channels_last are kept as [V·N, H, W, C].
        turned: whether they are.
    """

    rows: Tensor
    turned: bool

    @staticmethod
    def like(part: Tensor, count: int, home: torch.device) -> Table:
        """An empty table for ``count`` rows of the kind of a part [B, …]."""
        turned = part.dim() == 4 and not part.is_contiguous() and part.is_contiguous(memory_format=torch.channels_last)
        shape = part.permute(0, 2, 3, 1).shape[1:] if turned else part.shape[1:]
        return Table(torch.empty((count, *shape), dtype=_narrowest(part), device=home), turned)

    def put(self, start: int, part: Tensor) -> None:
        """Write rows from ``start`` on."""
        if self.rows.dtype == torch.bfloat16 and _narrowest(part) != torch.bfloat16:
            self.rows = self.rows.to(part.dtype)
        self.rows[start : start + len(part)] = part.permute(0, 2, 3, 1) if self.turned else part

    @property
    def stored(self) -> Tensor:
        """The part [V·N, …] in the order of its dimensions."""
        return self.rows.permute(0, 3, 1, 2) if self.turned else self.rows

    @property
    def size(self) -> int:
        """Bytes."""
        return self.rows.numel() * self.rows.element_size()


@dataclass
class Stored:
    """What is kept of one teacher.

    Attributes:
        layout: of its outputs.
        tables: by the part's name.
    """

    layout: Layout
    tables: dict[str, Table] = dataclasses.field(default_factory=dict)

    def size_on(self, home: torch.device) -> int:
        """Bytes on a kind of device."""
        return sum(table.size for table in self.tables.values() if table.rows.device.type == home.type)


class TeacherOutputs:
    """What a worker keeps of the teachers of its task.

    Attributes:
        kept: by the digest of a teacher's weights, the last used last.
    """

    def __init__(self, free: Callable[[torch.device], int] = free_bytes):
        self._free = free
        self.kept: dict[str, Stored] = {}

    def forget(self) -> None:
        """Drop all, since another task is loaded."""
        self.kept.clear()

    def fill(self, task: Task, teachers: Sequence[Asked], alive: Callable[[], None] = lambda: None) -> float | None:
        """Compute what is not there yet of the teachers' outputs on all views.

        Args:
            alive: called after each batch.

        Returns:
            Device seconds; None where there is no memory for it, and nothing was computed.
        """
        watch = Stopwatch(task.device)
        watch.start()
        missing = self._missing(task, teachers)
        if not missing:
            return 0.0
        firsts = first_outputs(task, missing)
        home = self._home(task, missing, firsts, used={teacher.key for teacher in teachers})
        if home is None:
            return None
        filling = Filling(task, missing, firsts, view_count(task), home)
        start = 0
        for batch in view_batches(task):
            filling(start, batch)
            start += len(batch.targets)
            alive()
        for teacher in missing:
            self.kept[teacher.key].tables.update(filling.tables[teacher.key])
        return watch.stop()

    def answers(self, task: Task, teacher: Asked) -> Lookup:
        """Gives a teacher's outputs on a batch from what was filled in."""
        return Lookup(task, teacher, self.kept[teacher.key])

    def fits(self, task: Task, teachers: Sequence[Asked]) -> bool:
        """Whether there is memory for teachers' outputs on all views, where other runs' are dropped."""
        return self._home(task, teachers, first_outputs(task, teachers), used=set()) is not None

    def _missing(self, task: Task, teachers: Sequence[Asked]) -> list[Asked]:
        """The teachers of which something is not there yet, each with what that is."""
        for teacher in teachers:
            stored = self.kept.pop(teacher.key, None)
            self.kept[teacher.key] = stored or Stored(Layout.of(first_outputs(task, [teacher])[teacher.key]))
        asked = [(teacher, self.kept[teacher.key]) for teacher in teachers]
        lacking = [(teacher, tuple(part for part in stored.layout.parts(teacher.parts) if part not in stored.tables)) for teacher, stored in asked]
        return [dataclasses.replace(teacher, parts=parts) for teacher, parts in lacking if parts]

    def _home(self, task: Task, teachers: Sequence[Asked], firsts: Mapping[str, Outputs], used: Collection[str]) -> torch.device | None:
        """Where new tables go: to the device, or to the host; what other runs used longest ago is dropped for them. None: nowhere.

        Args:
            used: the teachers whose tables stay.
        """
        needed = view_count(task) * sum(row_bytes(part) for teacher in teachers for part in parts_of(firsts[teacher.key], teacher).values())
        for home in [task.device] if task.device == CPU else [task.device, CPU]:
            others = [key for key in self.kept if key not in used]
            held = sum(stored.size_on(home) for stored in self.kept.values())
            room = SHARE * (self._free(home) + held)
            while needed + held > room and others:
                held -= self.kept.pop(others.pop(0)).size_on(home)
            if needed + held <= room:
                return home
        return None


class Filling:
    """Writes a batch's rows into the tables of several teachers: a step of what is charged for them.

    Attributes:
        tables: by the teacher's key and the part's name.
    """

    def __init__(self, task: Task, teachers: Sequence[Asked], firsts: Mapping[str, Outputs], count: int, home: torch.device):
        """
        Args:
            firsts: outputs of each teacher on any batch, which say what its tables are like.
            count: their rows.
        """
        self._task, self._teachers = task, teachers
        self.tables = {
            teacher.key: {name: Table.like(part, count, home) for name, part in parts_of(firsts[teacher.key], teacher).items()} for teacher in teachers
        }

    def __call__(self, start: int, batch: Batch) -> None:
        """The batch's rows begin at ``start``."""
        for teacher in self._teachers:
            for name, part in parts_of(answer_of(self._task, teacher, batch), teacher).items():
                self.tables[teacher.key][name].put(start, part)


class Lookup:
    """Outputs of one teacher by view; what is not there is computed.

    Args:
        every: rows of the tables, where there are fewer than views: a view has one of them, which is not its own.
    """

    def __init__(self, task: Task, teacher: Asked, stored: Stored, every: int | None = None):
        self._task, self._network, self._stored, self._every = task, teacher.network, stored, every
        self._whole = {name for name in teacher.parts if name in SEQUENCES and not any(part.startswith(f"{name}/") for part in teacher.parts)}

    def __call__(self, batch: Batch, compute: Callable[[], Outputs]) -> Outputs:
        """The outputs on a batch, which ``compute`` gives where they can't be looked up."""
        if batch.view is None:
            return compute()
        view = batch.view if self._every is None else batch.view % self._every
        computed: list[Outputs] = []

        def read(part: str) -> Tensor:
            found = self._looked_up(part, batch, view)
            if found is None:
                computed.extend([] if computed else [compute()])
                found = part_of(computed[0], part)
            return found

        def asked(field: str) -> Sequence[Tensor | None]:
            # only what takes a tuple of tensors as a whole has use for them all at once
            names = [f"{field}/{number}" for number in range(self._stored.layout.counts[field])]
            return [read(name) if field in self._whole else None for name in names]

        return PartialOutputs(self._stored.layout, read, asked)

    def _looked_up(self, part: str, batch: Batch, view: Tensor) -> Tensor | None:
        """Rows of a part, in fp32 where they are numbers with a fraction."""
        table = self._stored.tables.get(part)
        rows = None if table is None else self._task.trimmed(part, table.stored, self._network, batch)
        if table is None or rows is None:
            return None
        chosen = rows.permute(0, 2, 3, 1) if table.turned else rows
        found = chosen.index_select(0, view.to(chosen.device)).to(view.device)
        found = found.float() if found.is_floating_point() else found
        return found.permute(0, 3, 1, 2) if table.turned else found


def first_outputs(task: Task, teachers: Sequence[Asked]) -> dict[str, Outputs]:
    """Outputs of each teacher on the first batch of views, by its key."""
    batch = next(view_batches(task))
    return {teacher.key: answer_of(task, teacher, batch) for teacher in teachers}


def parts_of(outputs: Outputs, teacher: Asked) -> dict[str, Tensor]:
    """The parts of a teacher's outputs that are read, by name."""
    return {name: part_of(outputs, name) for name in Layout.of(outputs).parts(teacher.parts)}


def answer_of(task: Task, teacher: Asked, batch: Batch) -> Outputs:
    """A teacher's outputs on what teachers see, as a step computes them."""
    with torch.no_grad():
        return task.answered(teacher.network, batch)


def view_count(task: Task) -> int:
    """Views of all training samples of all seeds."""
    assert task.views is not None
    return task.parts.trained_on * task.views


def view_batches(task: Task) -> Iterator[Batch]:
    """Every view once, in order, in batches of the recipe's size."""
    assert task.views is not None
    for views in torch.arange(view_count(task)).split(task.card.recipe.batch_size):
        yield task.seen(views // task.views, views % task.views)


def filling_steps(task: Task) -> int:
    """Batches in which all views are computed."""
    return -(-view_count(task) // task.card.recipe.batch_size)


def row_bytes(part: Tensor) -> int:
    """Bytes that a row of a part takes as it is kept."""
    return part[0].numel() * torch.empty((), dtype=_narrowest(part)).element_size()


def _narrowest(part: Tensor) -> torch.dtype:
    """The type in which a part loses nothing: bf16 where all its values are such numbers, as autocast makes them."""
    if part.dtype == torch.float32 and torch.equal(part.bfloat16().float(), part):
        return torch.bfloat16
    return part.dtype
