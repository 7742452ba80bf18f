"""Hyper-parameters as typed fields that carry their default, its source, their bounds and their search range.

A method declares its hyper-parameters once::

    @dataclass(frozen=True)
    class QuestParams(Params):
        tau: float = Float(0.2, 0.001, 10.0, above=0, log=True, source="code", help="temperature of the assignment")

and from this one place come ``--param METHOD.NAME=VALUE``, the Optuna search space, trial 0 and the documentation.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from dataclasses import dataclass
from typing import Any, Literal

from kdarena.errors import UserError

Source = Literal["paper", "code", "ours", "recalled"]
Value = float | int | str | bool


_TUNABLE = "kdarena.tunable"


@dataclass(frozen=True)
class Tunable:
    """One hyper-parameter: its default, where the default comes from, what is possible, and where a tuner may look.

    Attributes:
        kind: the type of the value: ``float``, ``int``, ``choice`` or ``flag``.
        default: the value of trial 0.
        source: who says so: the paper, its public code, or ourselves; ``recalled`` where nobody could look it up again.
        low, high: inclusive search range of a number (``None`` for choices and flags).
        above, below: exclusive bounds of what is possible; outside of them the equations mean nothing.
        least, most: inclusive bounds of what is possible.
        log: whether the range is searched on a logarithmic scale.
        choices: the allowed values of a choice.
        cost: whether the value changes the cost of a step; such a parameter is tuned only where the user asks for it,
            because each value needs a cost profile of its own.
        tune: whether the tuner searches it at all.
        help: one line for the reader.

    Raises:
        ValueError: the search range is empty, or default or range lie outside the bounds.
    """

    kind: Literal["float", "int", "choice", "flag"]
    default: Value
    source: Source
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    least: float | None = None
    most: float | None = None
    log: bool = False
    choices: tuple[Value, ...] = ()
    cost: bool = False
    tune: bool = True
    help: str = ""

    def __post_init__(self) -> None:
        self.check(self.default)
        if self.low is not None and self.high is not None:
            if not self.low <= self.high or (self.log and self.low <= 0):
                raise ValueError(f"the search range {self.describe_range()} is empty, or logarithmic and not above 0")
            for end in (self.low, self.high):
                self.check(end)

    def check(self, value: Value) -> Value:
        """Return ``value`` if it is possible, else raise ``ValueError`` with what is.

        A number may lie outside its search range, but not outside its bounds.
        """
        if self.kind == "choice":
            if value not in self.choices:
                raise ValueError(f"{value!r} is not one of {', '.join(map(str, self.choices))}")
            return value
        if self.kind == "flag":
            if not isinstance(value, bool):
                raise ValueError(f"{value!r} is not true or false")
            return value
        if isinstance(value, (bool, str)) or not math.isfinite(value):
            raise ValueError(f"{value!r} is not a finite number")
        if self.kind == "int":
            if value != int(value):
                raise ValueError(f"{value!r} is not a whole number")
            value = int(value)
        if not self._possible(value):
            raise ValueError(f"{value:g} is not possible; it has to be {self.describe_bounds()}")
        return value

    def _possible(self, value: float) -> bool:
        return (
            (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
            and (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
        )

    def describe_bounds(self) -> str:
        """What is possible in words, as ``above 0 and at most 1``; empty where every number is."""
        named = (("above", self.above), ("at least", self.least), ("below", self.below), ("at most", self.most))
        return " and ".join(f"{name} {bound:g}" for name, bound in named if bound is not None)

    def parse(self, text: str) -> Value:
        """Read a value as typed on the command line; raises ``ValueError`` with what is allowed."""
        text = text.strip()
        if self.kind == "flag":
            meanings = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
            if text.lower() not in meanings:
                raise ValueError(f"{text!r} is not true or false")
            return meanings[text.lower()]
        if self.kind == "choice":
            for choice in self.choices:
                if str(choice) == text:
                    return choice
            return self.check(text)
        try:
            number = int(text) if self.kind == "int" else float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(f"{text!r} is not {'a whole' if self.kind == 'int' else 'a finite'} number")
        return self.check(number)

    def describe_range(self) -> str:
        """The search range in words, as the documentation prints it."""
        if self.kind == "flag":
            return "true, false"
        if self.kind == "choice":
            return ", ".join(map(str, self.choices))
        return f"{self.low:g} to {self.high:g}" + (", log" if self.log else "")


COMMON: typing.Mapping[str, Tunable] = {
    "lr": Tunable("float", 0.1, "ours", above=0, help="learning rate of the task's optimiser"),
    "weight_decay": Tunable("float", 0.0, "ours", least=0, help="weight decay of the task's optimiser"),
}
"""The common hyper-parameters, those of the task's recipe, which every method is tuned over in addition to its own.

What is possible is the same everywhere; default and search range are the recipe's (:meth:`kdarena.tracks.recipe.Recipe.hyperparameters`).
"""


def _field(tunable: Tunable) -> Any:
    return dataclasses.field(default=tunable.default, metadata={_TUNABLE: tunable})


def Float(  # noqa: N802 - reads as a type where it is used
    default: float,
    low: float,
    high: float,
    *,
    source: Source,
    above: float | None = None,
    below: float | None = None,
    least: float | None = None,
    most: float | None = None,
    log: bool = False,
    cost: bool = False,
    tune: bool = True,
    help: str = "",
) -> Any:
    """A real hyper-parameter, searched in ``[low, high]``; possible are the values within the bounds."""
    return _field(Tunable("float", default, source, low, high, above, below, least, most, log=log, cost=cost, tune=tune, help=help))


def Int(  # noqa: N802
    default: int,
    low: int,
    high: int,
    *,
    source: Source,
    least: int | None = None,
    most: int | None = None,
    log: bool = False,
    cost: bool = False,
    tune: bool = True,
    help: str = "",
) -> Any:
    """A whole hyper-parameter, searched in ``[low, high]``, both included; possible are the values from ``least`` to ``most``."""
    return _field(Tunable("int", default, source, low, high, least=least, most=most, log=log, cost=cost, tune=tune, help=help))


def Choice(  # noqa: N802
    default: Value, choices: typing.Sequence[Value], *, source: Source, cost: bool = False, tune: bool = False, help: str = ""
) -> Any:
    """One of several named values. Not tuned unless ``tune=True``: a paper's named variants are rows of the board."""
    return _field(Tunable("choice", default, source, choices=tuple(choices), cost=cost, tune=tune, help=help))


def Flag(default: bool, *, source: Source, cost: bool = False, tune: bool = False, help: str = "") -> Any:  # noqa: N802
    """A switch. Not tuned unless ``tune=True``."""
    return _field(Tunable("flag", default, source, cost=cost, tune=tune, help=help))


class ImpossibleValue(UserError, ValueError):
    """A parameter is unknown, or has a value with which the method's equations mean nothing."""


@dataclass(frozen=True)
class Params:
    """Base of a method's hyper-parameters; a method without any uses it as it is.

    Raises:
        ImpossibleValue: a value is out of its bounds, or :meth:`conflict` says why several don't go together.
    """

    def __post_init__(self) -> None:
        for name, tunable in tunables(type(self)).items():
            try:
                object.__setattr__(self, name, tunable.check(getattr(self, name)))
            except ValueError as error:
                raise ImpossibleValue(f"{name}: {error}") from None
        if problem := self.conflict():
            raise ImpossibleValue(problem)

    def conflict(self) -> str | None:
        """Why these values don't go together, or None; for what no bound of a single parameter can say."""
        return None


def tunables(params_type: type[Params]) -> dict[str, Tunable]:
    """The hyper-parameters of a ``Params`` class by name, in the order of their declaration.

    Raises:
        TypeError: the class is no frozen dataclass, or a field is declared without Float, Int, Choice or Flag.
    """
    if not (isinstance(params_type, type) and issubclass(params_type, Params)):
        raise TypeError("Params has to be a subclass of kdarena.Params")
    known: dict[str, Tunable] = {}
    for field in dataclasses.fields(params_type):
        tunable = field.metadata.get(_TUNABLE)
        if not isinstance(tunable, Tunable):
            raise TypeError(f"parameter {field.name!r} has to be declared with Float, Int, Choice or Flag")
        known[field.name] = tunable
    if "__dataclass_params__" not in vars(params_type):
        raise TypeError(f"{params_type.__name__} has to be decorated with @dataclass(frozen=True)")
    return known


def sources(params_type: type[Params]) -> str | None:
    """How many of a class's defaults come from where, as ``paper 2, ours 1``; None where it has no parameters."""
    given = [tunable.source for tunable in tunables(params_type).values()]
    return ", ".join(f"{source} {given.count(source)}" for source in typing.get_args(Source) if source in given) or None


def make_params(params_type: type[Params], values: typing.Mapping[str, Value]) -> Params:
    """Build a method's parameters from defaults and ``values``.

    Raises:
        ImpossibleValue: a name is unknown, or a value is impossible.
    """
    known = tunables(params_type)
    for name in values:
        if name not in known:
            raise ImpossibleValue(f"unknown parameter {name!r}; known: {', '.join(known) or 'none'}")
    return params_type(**values)
