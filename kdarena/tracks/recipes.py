"""Recipes that a task can be trained by in the place of its own: the same for every method, and for the teacher."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Literal

from kdarena.tracks.card import TaskCard
from kdarena.tracks.recipe import Recipe

RecipeName = Literal["paper", "modern"]
"""``paper``: the task's own."""
SIGN = "@"
"""Between the name of a task and that of its recipe, as in ``digits@modern``."""


def modern(recipe: Recipe) -> Recipe:
    """A recipe of today for images: AdamW, warm-up and cosine, label smoothing, mixup and cutmix, random erasing, averaged weights.

    Strengths of mixing, smoothing and erasing are those of torchvision's recipe for its reference weights; the learning rate, the decay and the
    length of warm-up and average are ours. Sizes of batches, lengths and the limit of gradients stay the task's.
    """
    return replace(
        recipe,
        lr=3e-3,
        weight_decay=0.05,
        teacher_lr=None,
        optimizer="adamw",
        decay="cosine",
        milestones=(),
        warmup=0.05,
        smoothing=0.1,
        mixup=0.2,
        cutmix=1.0,
        erasing=0.1,
        averaged=0.02,
        source="ours",
    )


RECIPES: Mapping[str, Callable[[Recipe], Recipe]] = MappingProxyType({"modern": modern})
"""By name, what makes a recipe of a task's own."""


def without_recipe(name: str) -> tuple[str, str | None]:
    """A task's name without its recipe's, and that, or None where it has its own."""
    task, sign, recipe = name.rpartition(SIGN)
    return (task, recipe) if sign and recipe in RECIPES else (name, None)


def why_not(card: TaskCard, recipe: str) -> str | None:
    """Why a task can't be trained by a recipe; None: it can."""
    if card.pixels and card.output == "classes" and card.one_row_a_sample and not card.decodes:
        return None
    return f"recipe {recipe} is for images with one label each, and task {card.name} has none"


def with_recipe(card: TaskCard, recipe: str) -> TaskCard:
    """The task that is trained by a recipe: another task, with boards of its own. Its samples have no augmentations that could be numbered.

    Raises:
        ValueError: in one line: it can't be trained by it.
    """
    if without_recipe(card.name)[1] == recipe:
        return card
    reason = why_not(card, recipe)
    if reason is not None:
        raise ValueError(reason)
    return replace(card, name=f"{card.name}{SIGN}{recipe}", recipe=RECIPES[recipe](card.recipe), augmentations=None)
