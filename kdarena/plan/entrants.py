"""The methods of a command on one task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kdarena.errors import described
from kdarena.method.declaration import REFERENCE, Method, TeacherSpec
from kdarena.method.plugin import Plugin
from kdarena.params import Value, make_params, tunables
from kdarena.plan.request import CONTROLS, Request
from kdarena.tracks.card import TaskCard


@dataclass(frozen=True)
class Entrant:
    """A method on a task, with what the user fixed. Made by :func:`entrants_of`.

    Attributes:
        params, recipe: fixed values of its own parameters and of the common hyper-parameters of the recipe.
        changed_params, changed_recipe: those of them that differ from the defaults: naming a default changes no run.
        teachers: what it takes from the pool.
        skip: why it does not run on the task, or None.
        fault: what its declaration raised, or None.
    """

    plugin: Plugin
    params: Mapping[str, Value]
    recipe: Mapping[str, float]
    teachers: tuple[TeacherSpec, ...]
    skip: str | None = None
    fault: str | None = None
    changed_params: Mapping[str, Value] = field(default_factory=dict)
    changed_recipe: Mapping[str, float] = field(default_factory=dict)

    @property
    def named(self) -> str:
        """What the user fixed to other values than the defaults, as the row is named by it: ``a=0.1, lr=0.05``; empty for the default setting."""
        return ", ".join(f"{name}={value}" for name, value in sorted({**self.changed_params, **self.changed_recipe}.items()))

    @property
    def runs(self) -> bool:
        """Whether there is nothing against it."""
        return self.skip is None and self.fault is None

    @property
    def method(self) -> Method:
        """Its declaration."""
        assert self.plugin.method is not None
        return self.plugin.method


def entrants_of(plugins: Sequence[Plugin], card: TaskCard, request: Request) -> list[Entrant]:
    """The methods of a command on one task, each with its teachers or the reason to skip it."""
    common = card.recipe.hyperparameters()
    entrants = []
    for plugin in plugins:
        assert plugin.method is not None
        given = request.params.get(plugin.name, {})
        recipe = {name: float(value) for name, value in given.items() if name in common}
        own = {name: value for name, value in given.items() if name not in common}
        params = make_params(plugin.method.Params, own)
        skip = fault = None
        teachers: tuple[TeacherSpec, ...] = ()
        try:
            skip = plugin.method.reason_against(card, params) or _out_of_scope(plugin.method, card, request)
            teachers = () if skip else tuple(plugin.method.teachers(card, params))
            skip = skip or _untrainable(teachers, card)
            teachers = () if skip else teachers
        except Exception as error:
            fault = f"plugin {plugin.name!r}, its declaration: {described(error)}"
        known = tunables(plugin.method.Params)
        changed_params = {name: value for name, value in own.items() if value != known[name].default}
        changed_recipe = {name: value for name, value in recipe.items() if value != common[name].default}
        entrants.append(Entrant(plugin, own, recipe, teachers, skip, fault, changed_params, changed_recipe))
    return entrants


def _out_of_scope(method: Method, card: TaskCard, request: Request) -> str | None:
    """Why a method that could run on a task is not asked to: each paper on its own track, the controls everywhere."""
    if request.scope != "own" or card.track in method.tracks or method.name in CONTROLS:
        return None
    return f"not on the track {card.track!r} in its paper; --scope all runs it there too"


def _untrainable(teachers: Sequence[TeacherSpec], card: TaskCard) -> str | None:
    """Why a method can't have the teachers that it takes: they would have to be trained, and the task's teacher can't be."""
    if card.teacher_trainable or not any(teacher != REFERENCE and card.architecture(teacher.architecture) == card.teacher for teacher in teachers):
        return None
    return f"it needs teachers that are trained for it, and {card.teacher} can't be: only its outputs are known"


def teachers_of(entrants: Sequence[Entrant]) -> list[TeacherSpec]:
    """The reference and every pool member that any method takes, each once."""
    wanted = [REFERENCE, *(teacher for entrant in entrants for teacher in entrant.teachers)]
    return list(dict.fromkeys(wanted))
