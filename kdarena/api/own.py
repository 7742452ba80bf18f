"""The tasks that a user brings, of what was typed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kdarena.api.arguments import Typed, absolute, names
from kdarena.errors import UserError
from kdarena.method.discovery import listing
from kdarena.tracks import cards
from kdarena.tracks.own import OwnTask

SETTINGS: Mapping[str, tuple[str, ...]] = {
    "images": ("images", "teacher", "student"),
    "text": ("text", "teacher", "student"),
    "function": ("task_from",),
    "pair": ("teacher", "student"),
}
"""Of each kind of task that is brought: the options that are its settings, that which brings it first."""


def own_tasks(typed: Typed) -> tuple[OwnTask, ...]:
    """The tasks that were brought; with ``--teacher`` or ``--student`` alone, the tasks that were named, with these networks.

    Raises:
        UserError: the options exclude each other, or name networks for no task.
    """
    brought = [kind for kind, options in SETTINGS.items() if kind != "pair" and options[0] in typed]
    tasks = (*(OwnTask(kind, _settings(kind, typed)) for kind in brought), *_of_plugins(typed))
    networks = [name for name in ("teacher", "student") if name in typed]
    if not networks or any("teacher" in SETTINGS[kind] for kind in brought):
        return tasks
    listed = names(typed["tasks"])
    if listed == ("all",):
        raise UserError(f"--{networks[0]} needs a task: name it by --tasks, or bring one by --images or --text")
    return (*tasks, *(OwnTask("pair", {"task": name, **_settings("pair", typed)}) for name in listed))


def _of_plugins(typed: Typed) -> list[OwnTask]:
    """The tasks that ``--tasks`` names and that a plugin brings (hook ``tasks``)."""
    unknown = set(names(typed["tasks"])) - {"all", *(card.name for card in cards())}
    if not unknown:
        return []
    brought = [task for known in listing(typed.get("plugin_paths", ())) if known.finding is not None for task in known.finding.tasks]
    return [OwnTask("function", {"task_from": function, "task": name}) for name, function in brought if name in unknown]


def _settings(kind: str, typed: Typed) -> dict[str, object]:
    """What a kind of task is made of, with absolute paths."""
    return {name: _absolute_setting(name, typed[name]) for name in SETTINGS[kind] if name in typed}


def _absolute_setting(name: str, value: str) -> str:
    if name == "task_from":
        module, separator, function = value.rpartition(":")
        return f"{_absolute(module)}{separator}{function}" if module.endswith(".py") else value
    return _absolute(value) if name in ("images", "text") else value


def _absolute(path: str) -> str:
    return absolute(str(Path(path).expanduser()))
