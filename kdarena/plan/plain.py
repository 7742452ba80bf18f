"""Frozen dataclasses from plain JSON values: the inverse of ``dataclasses.asdict``, for everything that is kept in a file or sent to a worker."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal, TypeVar

_T = TypeVar("_T")
_Reader = Callable[[Any], Any]

_SCALARS: dict[Any, tuple[type, ...]] = {str: (str,), int: (int,), float: (float, int), bool: (bool,), type(None): (type(None),)}
"""The types that a value may have where a scalar is declared; exact, since ``True`` is an ``int`` to Python."""


def from_plain(kind: type[_T], values: Any) -> _T:
    """A value of the dataclass ``kind`` from what ``json`` reads.

    Serves dataclasses within dataclasses, tuples, lists, mappings with names as keys, unions, literals and dates. A whole
    number may be given for a float and stays what it is, so that a value has the same digest before and after. A field
    with a default may be missing. nan and infinity are values.

    Args:
        kind: a dataclass whose fields have types of these kinds.
        values: an object with a value a field.

    Raises:
        ValueError: a field is unknown or missing, or its value is of another type; the message names it.
    """
    read: Callable[[Any], _T] = _reader(kind)  # type: ignore[arg-type]
    return read(values)


@functools.cache
def _reader(kind: Any) -> _Reader:
    """What turns plain values into values of a type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return lambda value: value
    if kind in _SCALARS:
        return _one_of(_SCALARS[kind], kind.__name__)
    if kind is datetime:
        return _date
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind)
    if origin is Literal:
        return _literal(arguments)
    if origin in (typing.Union, types.UnionType):
        return _union(arguments)
    if origin is tuple and arguments[-1] is not Ellipsis:
        return _fixed_tuple([_reader(argument) for argument in arguments])
    if origin in (tuple, list):
        return _sequence(origin, _reader(arguments[0]))
    if origin in (Mapping, dict):
        return _mapping(arguments[1])
    raise TypeError(f"no values of the type {kind} can be read")


def _dataclass(kind: Any) -> _Reader:
    hints = typing.get_type_hints(kind)
    fields = {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.init}
    # most fields are scalars, whose values are only looked at: a call for each would double the time of a large record
    scalars = {name: allowed for name, hint in fields.items() if (allowed := _scalar_types(hint))}
    readers = {name: _reader(hint) for name, hint in fields.items()}

    def read(values: Any) -> Any:
        if type(values) is not dict:
            raise ValueError(f"{kind.__name__}: {values!r} is no object")
        made = values.copy()
        try:
            for name, value in values.items():
                if name not in scalars or type(value) not in scalars[name]:
                    made[name] = readers[name](value)
        except KeyError:
            raise ValueError(f"{kind.__name__}: unknown field {name!r}") from None
        except ValueError as error:
            raise ValueError(f"{kind.__name__}.{name}: {error}") from None
        try:
            return kind(**made)
        except TypeError:
            missing = [field.name for field in dataclasses.fields(kind) if field.name not in made and not _has_default(field)]
            raise ValueError(f"{kind.__name__}: missing field {', '.join(map(repr, missing))}") from None

    return read


def _scalar_types(kind: Any) -> frozenset[type]:
    """The types of a scalar's or a union of scalars' values; empty where a value may be something else."""
    members = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    return frozenset(one for member in members for one in _SCALARS.get(member, ())) if all(member in _SCALARS for member in members) else frozenset()


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _one_of(allowed: tuple[type, ...], name: str) -> _Reader:
    def read(value: Any) -> Any:
        if type(value) not in allowed:
            raise ValueError(f"{value!r} is no {name}")
        return value

    return read


def _date(value: Any) -> datetime:
    if type(value) is not str:
        raise ValueError(f"{value!r} is no date")
    return datetime.fromisoformat(value)


def _literal(allowed: tuple[Any, ...]) -> _Reader:
    def read(value: Any) -> Any:
        if value not in allowed:
            raise ValueError(f"{value!r} is none of {', '.join(map(repr, allowed))}")
        return value

    return read


def _union(arguments: tuple[Any, ...]) -> _Reader:
    """The first member that fits; scalars are compared by their exact type, so that none becomes another."""
    scalars = tuple(one for argument in arguments for one in _SCALARS.get(argument, ()))
    readers = [_reader(argument) for argument in arguments if argument not in _SCALARS]

    def read(value: Any) -> Any:
        if type(value) in scalars:
            return value
        problem = f"{value!r} is none of {', '.join(getattr(argument, '__name__', str(argument)) for argument in arguments)}"
        for reader in readers:
            try:
                return reader(value)
            except ValueError as error:
                problem = str(error)
        raise ValueError(problem)

    return read


def _fixed_tuple(readers: list[_Reader]) -> _Reader:
    def read(values: Any) -> Any:
        if type(values) not in (list, tuple) or len(values) != len(readers):
            raise ValueError(f"{values!r} is no list of {len(readers)}")
        return tuple([reader(value) for reader, value in zip(readers, values, strict=True)])

    return read


def _sequence(made: type, reader: _Reader) -> _Reader:
    def read(values: Any) -> Any:
        if type(values) not in (list, tuple):
            raise ValueError(f"{values!r} is no list")
        return made([reader(value) for value in values])

    return read


def _mapping(kind: Any) -> _Reader:
    reader, scalars = _reader(kind), _scalar_types(kind)

    def read(values: Any) -> Any:
        if type(values) is not dict:
            raise ValueError(f"{values!r} is no object")
        if scalars and scalars.issuperset(map(type, values.values())):
            return values
        return {name: reader(value) for name, value in values.items()}

    return read
