"""What is typed of methods' parameters: ``METHOD.NAME=VALUE``, and ``METHOD.NAME=a,b,c`` where several are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from kdarena.errors import UserError
from kdarena.method.plugin import Plugin
from kdarena.params import COMMON, ImpossibleValue, Tunable, Value, make_params, tunables


@dataclass(frozen=True)
class Assignment:
    """A parameter of a method and the values that it was given."""

    method: str
    parameter: str
    values: tuple[Value, ...]


def parse_assignment(
    text: str, plugins: Sequence[Plugin], *, what: str, form: str, common: Mapping[str, Tunable] = MappingProxyType({}), several: bool = False
) -> Assignment:
    """Read one assignment.

    Args:
        what: where it was typed, for messages.
        form: what was expected there, with an example.
        common: hyper-parameters that every method has, by name.
        several: whether commas separate values.

    Raises:
        UserError: the form is wrong, or method, name or a value is unknown.
    """
    target, equals, right = text.partition("=")
    name, dot, parameter = target.partition(".")
    methods = {plugin.name: plugin.method for plugin in plugins if plugin.method is not None}
    if not (equals and dot and right.strip()):
        raise UserError(f"{what} {text!r}: expected {form}")
    if name not in methods:
        raise UserError(f"{what} {text!r}: unknown plugin {name!r}; known: {', '.join(methods)}")
    known = tunables(methods[name].Params)
    if parameter not in known and parameter not in common:
        raise UserError(f"{what} {text!r}: {name} has no parameter {parameter!r}; known: {', '.join((*known, *common)) or 'none'}")
    read = {**common, **known}[parameter].parse
    try:
        return Assignment(name, parameter, tuple(read(value) for value in (right.split(",") if several else [right])))
    except ValueError as error:
        raise UserError(f"{what} {text!r}: {error}") from None


def parse_params(assignments: Sequence[str], plugins: Sequence[Plugin]) -> dict[str, dict[str, Value]]:
    """What ``--param METHOD.NAME=VALUE`` gave each method; of one that is given twice, the last.

    Raises:
        UserError: as above, or a method's values don't go together.
    """
    values: dict[str, dict[str, Value]] = {}
    for text in assignments:
        assignment = parse_assignment(text, plugins, what="--param", form="METHOD.NAME=VALUE, as kd.temperature=4", common=COMMON)
        values.setdefault(assignment.method, {})[assignment.parameter] = assignment.values[0]
    for plugin in plugins:
        if plugin.method is not None and plugin.name in values:
            own = tunables(plugin.method.Params)
            try:
                make_params(plugin.method.Params, {name: value for name, value in values[plugin.name].items() if name in own})
            except ImpossibleValue as error:
                raise UserError(f"--param {plugin.name}: {error}") from None
    return values
