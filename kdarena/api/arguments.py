"""What a request is made from: what was typed, or given in Python, by the names of the request's fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from kdarena.errors import UserError
from kdarena.plan.amounts import Amount, parse_amount, parse_duration
from kdarena.plan.ladder import Ladder, ladder_of
from kdarena.plan.request import Request

SWEEP = (
    *("plugin_paths", "tasks", "budget", "teacher_budget", "seeds", "workers", "device", "precision", "capture", "params", "yes", "data_root", "metrics"),
    *(
        "side_by_side",
        "views",
        "teacher_outputs",
        "recipe",
        "images",
        "unlabelled",
        "skip_unreadable",
        "image_size",
        "class_weights",
        "text",
        "columns",
        "task_from",
        "teacher_logits",
        "teacher",
        "student",
        "taps",
        "out",
    ),
)
"""Fields of a request that a sweep has."""
RECOMMEND = (*(name for name in SWEEP if name != "metrics"), "scope", "total", "teacher_checkpoint", "teacher_weights")
"""Those that a recommendation has."""
COST = (
    *("plugin_paths", "device", "precision", "data_root", "images", "unlabelled", "skip_unreadable", "image_size", "class_weights"),
    *("text", "columns", "task_from", "teacher", "student", "taps"),
)
"""Those that the measurement of step costs has."""
EXPORT_FORMATS = ("torch.export", "onnx", "timm", "hf")
"""What the folder of an exported student is for: torch alone, onnxruntime, or a library whose network it is."""
LARGEST_FACTOR = 1000
"""Of a budget that a ladder reaches."""

Typed = Mapping[str, Any]
"""What was typed for a request, by the names of its fields; what was not typed is missing. Tasks and parameters are text."""


def names(text: str) -> tuple[str, ...]:
    """What was typed with commas: each name once, without spaces around it, in the order in which they were typed."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def amount(text: str, option: str) -> Amount:
    """A budget; 0 says that there is no tuning."""
    return Amount(0.0, "s") if option == "--tuning-budget" and text.strip() == "0" else parse_amount(text, option)


def choice(text: str, option: str, choices: Sequence[str]) -> str:
    """One of several named values.

    Raises:
        UserError: it is none of them.
    """
    if text not in choices:
        raise UserError(f"{option} {text!r}: use {', '.join(choices[:-1])} or {choices[-1]}")
    return text


def count(text: str, option: str) -> int:
    """A whole number from 1 on.

    Raises:
        UserError: it is none.
    """
    if not (text.strip().isdecimal() and int(text) > 0):
        raise UserError(f"{option} {text!r}: use a whole number from 1 on")
    return int(text)


def ladder(text: str) -> Ladder:
    """Multiples of a budget as they are typed with commas.

    Raises:
        UserError: one is no number above zero.
    """
    try:
        typed = [float(factor) for factor in text.split(",")]
    except ValueError:
        typed = []
    if not typed or not all(0 < factor <= LARGEST_FACTOR for factor in typed):
        raise UserError(f"--ladder {text!r}: expected multiples of the budget, up to {LARGEST_FACTOR}, with commas, as 0.25,0.5,1,2")
    return ladder_of(typed)


def side_by_side(text: str) -> int | None:
    """How many runs train side by side; None for ``auto``.

    Raises:
        UserError: it is no whole number from 1 on.
    """
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"--side-by-side {text!r}: use auto, or a whole number of runs from 1 on")
    return int(text)


def absolute(text: str) -> str:
    """A path that holds wherever a worker is."""
    return str(Path(text).resolve())


def data_root(text: str) -> str:
    """The absolute path of the folder of the data sets.

    Raises:
        UserError: it is a file.
    """
    if Path(text).is_file():
        raise UserError(f"--data-root {text}: is a file; name the folder that the data sets are in")
    return absolute(text)


def typed_from(given: Mapping[str, Any]) -> dict[str, Any]:
    """Python values as they would have been typed; what is None is left out.

    Args:
        given: by the names of the request's fields.

    Raises:
        UserError: a value is not possible; the line names its option.
    """
    hints = get_type_hints(Request)
    unknown = sorted(given.keys() - hints.keys())
    if unknown:
        raise UserError(f"there is no option {', '.join(unknown)}; the options are those of the command, as {', '.join(sorted(hints)[:3])}, …")
    return {name: _read(name, hints[name], value) for name, value in given.items() if value is not None}


def _read(name: str, hint: Any, value: Any) -> Any:
    """A value of a field, checked as the option of that field is."""
    option = f"--{name.replace('_', '-')}"
    if name in _READ:
        return _READ[name](value, option)
    kinds = get_args(hint) or (hint,)
    for kind in (hint, *kinds):
        if get_origin(kind) is Literal:
            return choice(value, option, get_args(kind))
    if Amount in kinds:
        return value if isinstance(value, Amount) else amount(str(value), option)
    if int in kinds and bool not in kinds and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise UserError(f"{option} {value!r}: use a whole number from 1 on")
    if hint is bool and not isinstance(value, bool):
        raise UserError(f"{option} {value!r}: use True or False")
    return str(value) if str in kinds else value


def _seconds(value: Any, option: str) -> float:
    return parse_duration(f"{value}s" if isinstance(value, (int, float)) else str(value), option)


def _several(value: Any, option: str) -> tuple[str, ...]:
    """Names or paths: a sequence of them, or one alone."""
    if not isinstance(value, (str, Path, Sequence)):
        raise UserError(f"{option} {value!r}: use text, or a list of it")
    return tuple(map(str, [value] if isinstance(value, (str, Path)) else value))


def _assignments(value: Any, option: str) -> tuple[str, ...]:
    """``{"kd": {"temperature": 4}}``, ``{"kd.temperature": 4}`` or what is typed, ``["kd.temperature=4"]``."""
    if not isinstance(value, Mapping):
        return _several(value, "--param")
    pairs: Iterable[tuple[str, Any]] = (
        pair for name, one in value.items() for pair in ([(f"{name}.{own}", each) for own, each in one.items()] if isinstance(one, Mapping) else [(name, one)])
    )
    return tuple(f"{name}={one}" for name, one in pairs)


_READ: Mapping[str, Callable[[Any, str], Any]] = {
    "tasks": lambda value, option: ",".join(_several(value, option)),
    "metrics": lambda value, option: names(",".join(_several(value, option))),
    "plugin_paths": lambda value, option: _several(value, "--plugin-path"),
    "params": _assignments,
    "total": _seconds,
    "ladder": lambda value, option: ladder(",".join(map(str, [value] if isinstance(value, (int, float)) else value))) if value else Ladder(),
    "side_by_side": lambda value, option: side_by_side(str(value)),
    "data_root": lambda value, option: data_root(str(value)),
    "out": lambda value, option: Path(value),
}
"""Fields whose values are read otherwise than their type says."""
