"""What a check of a method says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "failed", "not checked"]


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        check: what was looked at, in a few words.
        status: ``failed`` where the method breaks the contract; ``warning`` where a legitimate method may do the same.
        text: one line: what, where, what to change; with ``ok`` what was seen, where that is worth a word.
    """

    check: str
    status: Status
    text: str = ""

    @property
    def line(self) -> str:
        """As it is printed."""
        said = "looks odd" if self.status == "warning" else self.status
        return f"{self.check}: {said}" + (f": {self.text}" if self.text else "")


class BrokenMethod(AssertionError):
    """A method breaks the contract; the text has a line for each check that failed."""


def assert_good(findings: Sequence[Finding]) -> None:
    """Raise :class:`BrokenMethod` where a check failed, for tests."""
    failed = [finding.line for finding in findings if finding.status == "failed"]
    if failed:
        raise BrokenMethod("\n".join(failed))
