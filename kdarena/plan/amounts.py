"""Budgets as the user states them, in four currencies."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from kdarena.errors import UserError

Currency = Literal["s", "se", "flop", "epochs"]


@dataclass(frozen=True)
class Amount:
    """A budget as the user states it: seconds (``s``), student-epochs (``se``), floating-point operations or epochs."""

    value: float
    currency: Currency

    def __str__(self) -> str:
        if self.currency == "s":
            return f"{self.value / 60:g}m" if self.value >= 60 else f"{self.value:g}s"
        return f"{self.value:g}{self.currency}"


_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_AMOUNT = re.compile(r"([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*(se|s|m|h|d|flop|flops|epochs|epoch)", re.IGNORECASE)


def parse_amount(text: str, option: str = "--budget") -> Amount:
    """Read ``10m``, ``45s``, ``60se``, ``3e15flop`` or ``60epochs``.

    Raises:
        UserError: the text is none of these, or not positive.
    """
    matched = _AMOUNT.fullmatch(text.strip())
    if not matched:
        raise UserError(f"{option} {text!r}: expected a number and a unit, as 10m, 45s, 2h, 60se (student-epochs), 3e15flop or 60epochs")
    value, unit = float(matched[1]), matched[2].lower()
    if not 0 < value < float("inf"):
        raise UserError(f"{option} {text!r}: has to be more than zero")
    if unit in _SECONDS:
        return Amount(value * _SECONDS[unit], "s")
    return Amount(value, {"se": "se", "flop": "flop", "flops": "flop", "epochs": "epochs", "epoch": "epochs"}[unit])  # type: ignore[arg-type]


def parse_duration(text: str, option: str) -> float:
    """Read a duration in seconds: ``10m``, ``8h``; raises ``UserError`` for other units."""
    amount = parse_amount(text, option)
    if amount.currency != "s":
        raise UserError(f"{option} {text!r}: expected a duration, as 10m or 8h")
    return amount.value
