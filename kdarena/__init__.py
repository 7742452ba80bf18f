"""kdarena: knowledge-distillation methods compared under identical budgets, each paper a plugin.

:func:`run`, :func:`recommend`, :func:`export` and :func:`leaderboard` do what the commands of these names do. The rest is everything a plugin imports, in addition to
:mod:`kdarena.losses`, :mod:`kdarena.schedules` and, in its tests, :mod:`kdarena.testing`. Each name is loaded where it is first asked for,
so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdarena.api.boards import leaderboard
    from kdarena.api.export import export
    from kdarena.api.recommend import recommend
    from kdarena.api.run import run
    from kdarena.errors import NotApplicable
    from kdarena.method.contract import Curve, Phase, Terms, Update, hookimpl
    from kdarena.method.declaration import (
        NO_TEACHER,
        REFERENCE,
        ROWS,
        Method,
        Paper,
        TeacherSpec,
        no_teachers,
        reference_teacher,
        teacher_pool,
    )
    from kdarena.method.further import ResultFacts, RunFacts
    from kdarena.method.learner import Learner
    from kdarena.method.run import Run
    from kdarena.method.step import Step
    from kdarena.params import Choice, Flag, Float, Int, Params
    from kdarena.tracks.branch import Branch, Ensemble
    from kdarena.tracks.capture import plain_outputs
    from kdarena.tracks.card import Offer, TaskCard
    from kdarena.tracks.evaluation import Evaluation
    from kdarena.tracks.padding import masked_layer
    from kdarena.tracks.recipe import Recipe
    from kdarena.tracks.task import Task
    from kdarena.tracks.values import Batch, Outputs, Setting, Shapes

_COMMANDS = {
    "api.boards": ("leaderboard",),
    "api.export": ("export",),
    "api.recommend": ("recommend",),
    "api.run": ("run",),
}
_HOME = {
    "errors": ("NotApplicable",),
    "method.contract": ("Curve", "Phase", "Terms", "Update", "hookimpl"),
    "method.declaration": ("NO_TEACHER", "REFERENCE", "ROWS", "Method", "Paper", "TeacherSpec", "no_teachers", "reference_teacher", "teacher_pool"),
    "method.further": ("ResultFacts", "RunFacts"),
    "method.learner": ("Learner",),
    "method.run": ("Run",),
    "method.step": ("Step",),
    "params": ("Choice", "Flag", "Float", "Int", "Params"),
    "tracks.branch": ("Branch", "Ensemble"),
    "tracks.capture": ("plain_outputs",),
    "tracks.card": ("Offer", "TaskCard"),
    "tracks.padding": ("masked_layer",),
    "tracks.recipe": ("Recipe",),
    "tracks.evaluation": ("Evaluation",),
    "tracks.task": ("Task",),
    "tracks.values": ("Batch", "Outputs", "Setting", "Shapes"),
}
_MODULE_OF = {name: module for module, names in (_COMMANDS | _HOME).items() for name in names}
FOR_PLUGINS = tuple(name for names in _HOME.values() for name in names)
"""What a plugin may import."""

__all__ = [  # noqa: RUF022 - the names above
    "Batch",
    "Branch",
    "Choice",
    "Curve",
    "Ensemble",
    "Evaluation",
    "Flag",
    "Float",
    "Int",
    "Learner",
    "Method",
    "NO_TEACHER",
    "NotApplicable",
    "Offer",
    "Outputs",
    "Paper",
    "Params",
    "Phase",
    "REFERENCE",
    "ROWS",
    "Recipe",
    "ResultFacts",
    "Run",
    "RunFacts",
    "Setting",
    "Shapes",
    "Step",
    "Task",
    "TaskCard",
    "TeacherSpec",
    "Terms",
    "Update",
    "export",
    "hookimpl",
    "leaderboard",
    "masked_layer",
    "no_teachers",
    "plain_outputs",
    "recommend",
    "reference_teacher",
    "run",
    "teacher_pool",
]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f"kdarena.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module 'kdarena' has no attribute {name!r}")
