"""What makes runs comparable: the identity of a board."""

from __future__ import annotations

from dataclasses import dataclass

from kdarena.plan.spec import digest

Place = tuple[str, str, str, str, str, int, str]
"""Task, unit, protocol, device, precision, threads and data: what a board shares with its trials and its ladder of shorter budgets."""


@dataclass(frozen=True, order=True)
class Board:
    """What runs have to share to be compared.

    Attributes:
        reference: key of the reference teacher, since other teachers make other tasks; empty for a skipped run, which
            is on every board of its task.
    """

    task: str
    amount: float
    unit: str
    protocol: str
    device: str
    precision: str
    threads: int
    data: str
    reference: str = ""

    @property
    def place(self) -> Place:
        """The board without its budget and its reference."""
        return self.task, self.unit, self.protocol, self.device, self.precision, self.threads, self.data

    @property
    def key(self) -> str:
        """16 hexadecimal digits that name it."""
        return digest(self)
