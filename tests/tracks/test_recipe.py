"""A recipe's curve and its optimiser."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW

from kdarena.tracks.recipe import Recipe, curve, optimizer, recipe_of_pair

RECIPE = Recipe(lr=0.1, weight_decay=0.01, momentum=0.9, batch_size=4, teacher_epochs=1)


@pytest.mark.parametrize(
    ("decay", "expected"),
    [("poly", lambda p: (1 - p) ** 0.9), ("linear", lambda p: (1 - p) / 0.9), ("cosine", lambda p: (1 + math.cos(math.pi * (p - 0.1) / 0.9)) / 2)],
)
def test_each_decay_warms_up_linearly_and_then_falls_to_zero(decay, expected):
    recipe = replace(RECIPE, decay=decay, warmup=0.1)
    assert curve(recipe, 0.05) == pytest.approx(0.5)
    for progress in (0.1, 0.3, 0.8, 0.999):
        assert curve(recipe, progress) == pytest.approx(expected(progress))
    assert curve(recipe, 0.9999) < 0.001


def test_steps_multiply_by_gamma_at_each_milestone():
    recipe = replace(RECIPE, milestones=(0.5, 0.75))
    assert [curve(recipe, progress) for progress in (0.4, 0.5, 0.9)] == pytest.approx([1, 0.1, 0.01])


def test_adam_w_leaves_vectors_undecayed():
    parameters = [nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2))]
    made = optimizer(replace(RECIPE, optimizer="adamw"), parameters, lr=0.1, weight_decay=0.5)
    assert isinstance(made, AdamW)
    assert {group["params"][0].dim(): group["weight_decay"] for group in made.param_groups} == {2: 0.5, 1: 0.0}


@pytest.mark.parametrize(("name", "kind"), [("sgd", SGD), ("adam", Adam)])
def test_the_optimiser_takes_the_rate_and_the_decay_that_it_is_given(name, kind):
    made = optimizer(replace(RECIPE, optimizer=name), [nn.Parameter(torch.zeros(2))], lr=0.3, weight_decay=0.0)
    assert type(made) is kind
    assert (made.param_groups[0]["lr"], made.param_groups[0]["weight_decay"]) == (0.3, 0.0)


def test_a_pair_trains_its_teacher_by_the_teachers_rate_and_epochs():
    pair = recipe_of_pair(RECIPE, replace(RECIPE, lr=0.5, teacher_epochs=7))
    assert (pair.lr, pair.teacher_lr, pair.teacher_epochs) == (0.1, 0.5, 7)
    assert recipe_of_pair(RECIPE, RECIPE).teacher_lr is None


def test_the_common_hyper_parameters_are_searched_around_the_recipe():
    for name, tunable in RECIPE.hyperparameters().items():
        assert tunable.low < getattr(RECIPE, name) < tunable.high
