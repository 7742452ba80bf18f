"""The tasks that a user brings, of what was typed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kdarena.api.arguments import Typed, absolute, names
from kdarena.errors import UserError
from kdarena.method.discovery import listing
from kdarena.tracks import cards
from kdarena.tracks.classification.models.references import is_reference, parse
from kdarena.tracks.own import OwnTask
from kdarena.tracks.text import checkpoint

SETTINGS: Mapping[str, tuple[str, ...]] = {
    "images": ("images", "unlabelled", "skip_unreadable", "image_size", "class_weights", "teacher", "student", "taps"),
    "text": ("text", "columns", "teacher", "student"),
    "function": ("task_from",),
    "pair": ("teacher", "student", "taps"),
}
"""Of each kind of task that is brought: the options that are its settings, that which brings it first."""


def own_tasks(typed: Typed) -> tuple[OwnTask, ...]:
    """The tasks that were brought; with ``--teacher``, ``--student`` or ``--teacher-logits`` alone, the tasks that were named, with these networks.

    Raises:
        UserError: the options exclude each other, or name networks for no task.
    """
    if "teacher_logits" not in typed:
        return _brought(typed)
    return (_with_logits(typed),)


def _with_logits(typed: Typed) -> OwnTask:
    """The only task, with a teacher that is known by its logits."""
    option = f"--teacher-logits {typed['teacher_logits']}"
    other = next((name for name in ("teacher", "teacher_checkpoint", "teacher_budget") if name in typed), None)
    if other is not None and not ("text" in typed and other == "teacher"):  # whose tokens the student reads
        raise UserError(f"{option}: is the teacher, and --{other.replace('_', '-')} says another; leave one of them out")
    brought = _brought(typed)
    known = {task.settings.get("task") for task in brought}
    tasks = [*brought, *(OwnTask("logits", {"task": name}) for name in names(typed["tasks"]) if name != "all" and name not in known)]
    if len(tasks) != 1:
        raise UserError(f"{option}: holds the logits of the samples of one task; name one by --tasks, as --tasks digits")
    settings = {name: value for name, value in tasks[0].settings.items() if name == "task"}
    of = {} if tasks[0].kind == "logits" else {"of": tasks[0].plain()}
    return OwnTask("logits", {**settings, **of, "teacher_logits": _absolute(typed["teacher_logits"])})


def _brought(typed: Typed) -> tuple[OwnTask, ...]:
    """The tasks that were brought, with the networks that were named."""
    if "columns" in typed and "text" not in typed:
        raise UserError("--columns names the columns of --text, which is not given")
    brought = [kind for kind, options in SETTINGS.items() if kind != "pair" and options[0] in typed]
    _check_images(typed)
    tasks = (*(OwnTask(kind, {**_settings(kind, typed), **_encoders(kind, typed)}) for kind in brought), *_of_plugins(typed))
    networks = [name for name in ("teacher", "student") if name in typed]
    if "taps" in typed and not networks:
        raise UserError(f"--taps {typed['taps']}: names stages of networks by reference; name one by --teacher or --student, as timm:resnet18")
    if not networks or any("teacher" in SETTINGS[kind] for kind in brought):
        return tasks
    listed = names(typed["tasks"])
    if listed == ("all",):
        raise UserError(f"--{networks[0]} needs a task: name it by --tasks, or bring one by --images or --text")
    return (*tasks, *(OwnTask("pair", {"task": name, **_settings("pair", typed)}) for name in listed))


def _check_images(typed: Typed) -> None:
    """Raises ``UserError`` where something is said of a folder of pictures, and there is none."""
    said = {name: typed.get(name) for name in ("unlabelled", "skip_unreadable", "image_size", "class_weights")}
    option = next((name for name, value in said.items() if value not in (None, False, "none")), None)
    if option is not None and "images" not in typed:
        raise UserError(f"--{option.replace('_', '-')} is of a folder of pictures: name it by --images")


def _of_plugins(typed: Typed) -> list[OwnTask]:
    """The tasks that ``--tasks`` names and that a plugin brings (hook ``tasks``)."""
    unknown = set(names(typed["tasks"])) - {"all", *(card.name for card in cards())}
    if not unknown:
        return []
    brought = [task for known in listing(typed.get("plugin_paths", ())) if known.finding is not None for task in known.finding.tasks]
    return [OwnTask("function", {"task_from": function, "task": name}) for name, function in brought if name in unknown]


def _settings(kind: str, typed: Typed) -> dict[str, object]:
    """What a kind of task is made of, with absolute paths."""
    return {name: _READ.get(name, str)(typed[name]) for name in SETTINGS[kind] if name in typed}


def _encoders(kind: str, typed: Typed) -> dict[str, str]:
    """The networks of a task of texts, whose folders are named with or without ``hf:``."""
    return {role: checkpoint.absolute(typed[role]) for role in ("teacher", "student") if role in typed} if kind == "text" else {}


def _function(text: str) -> str:
    """``MODULE:FUNCTION``, with an absolute path where the module is a file."""
    module, separator, function = text.rpartition(":")
    return f"{_absolute(module)}{separator}{function}" if module.endswith(".py") else text


def _absolute(path: str) -> str:
    return absolute(str(Path(path).expanduser()))


def _network(name: str) -> str:
    """A network's name, with an absolute path where it is a reference to a folder or a file."""
    try:
        return str(parse(name)) if is_reference(name) else name
    except ValueError:
        return name  # a form of the task's own, or an error of which the task says what it knows


_READ: Mapping[str, Callable[[Any], object]] = {
    "images": _absolute,
    "unlabelled": _absolute,
    "skip_unreadable": bool,
    "image_size": int,
    "text": _absolute,
    "task_from": _function,
    "teacher": _network,
    "student": _network,
}
