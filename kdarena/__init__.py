"""kdarena: knowledge-distillation methods compared under identical budgets, each paper a plugin.

This is everything a plugin imports, besides :mod:`kdarena.losses` and, in its tests, :mod:`kdarena.testing`. Importing it
costs nothing: torch is loaded only where one of the last names, which serve as type hints, is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kdarena.errors import NotApplicable
from kdarena.method.contract import (
    NO_TEACHER,
    REFERENCE,
    ROWS,
    Curve,
    Learner,
    Method,
    Paper,
    Phase,
    TeacherSpec,
    Update,
    hookimpl,
    no_teachers,
    reference_teacher,
    teacher_pool,
)
from kdarena.params import Choice, Flag, Float, Int, Params

if TYPE_CHECKING:
    from kdarena.method.run import Run
    from kdarena.method.step import Step
    from kdarena.tracks.branch import Branch, Ensemble
    from kdarena.tracks.card import TaskCard
    from kdarena.tracks.evaluation import Evaluation
    from kdarena.tracks.task import Task
    from kdarena.tracks.values import Outputs

__all__ = [
    "NO_TEACHER",
    "REFERENCE",
    "ROWS",
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
    "NotApplicable",
    "Outputs",
    "Paper",
    "Params",
    "Phase",
    "Run",
    "Step",
    "Task",
    "TaskCard",
    "TeacherSpec",
    "Update",
    "hookimpl",
    "no_teachers",
    "reference_teacher",
    "teacher_pool",
]

_LAZY = {
    "Branch": "tracks.branch",
    "Ensemble": "tracks.branch",
    "Evaluation": "tracks.evaluation",
    "Outputs": "tracks.values",
    "Run": "method.run",
    "Step": "method.step",
    "Task": "tracks.task",
    "TaskCard": "tracks.card",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"kdarena.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'kdarena' has no attribute {name!r}")
