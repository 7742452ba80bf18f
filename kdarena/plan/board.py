"""What makes runs comparable: the identity of a board."""

from __future__ import annotations

from dataclasses import dataclass

Place = tuple[str, str, str, str, str, str, int, str, str, str, bool, bool, int]
"""Task, unit, protocol, device and its model, precision, threads, torch, the harness's code, data, whether steps are captured, whether networks are
compiled, and views: what a board shares with its trials and its ladder of shorter budgets."""


@dataclass(frozen=True, order=True)
class Board:
    """What runs have to share to be compared.

    Attributes:
        device_name: the model of the device; empty for runs of a version that did not record it, as ``torch`` and ``code``.
        code: digest of the harness's code that can change a number.
        reference: digest of the reference teacher's weights, since other teachers make other tasks; empty for a skipped run,
            which is on every board of its task.
        capture: whether steps are captured, which takes another time.
        compiled: whether networks are called compiled.
        views: fixed augmentations of each training sample, 0 where any of the task's are drawn.
    """

    task: str
    amount: float
    unit: str
    protocol: str
    device: str
    device_name: str
    precision: str
    threads: int
    torch: str
    code: str
    data: str
    reference: str = ""
    capture: bool = False
    compiled: bool = False
    views: int = 0

    @property
    def place(self) -> Place:
        """The board without its budget and its reference."""
        platform = (self.device, self.device_name, self.precision, self.threads, self.torch, self.code)
        return self.task, self.unit, self.protocol, *platform, self.data, self.capture, self.compiled, self.views
