"""Recipes in the place of a task's own."""

import pytest

from kdarena.api.session import choose_tasks, request_from
from kdarena.errors import UserError
from kdarena.tracks import find_card
from kdarena.tracks.recipes import RECIPES, with_recipe, without_recipe


def test_a_task_with_another_recipe_is_another_task_over_the_same_data():
    own, modern = find_card("digits"), find_card("digits@modern")
    assert (modern.name, modern.data_set, modern.student) == ("digits@modern", "digits", own.student)
    assert (modern.recipe.optimizer, modern.recipe.decay, modern.recipe.batch_size) == ("adamw", "cosine", own.recipe.batch_size)
    assert (own.recipe.optimizer, own.recipe.mixes) == ("sgd", False)
    assert modern.digest(None) == own.digest(None)
    assert (own.augmentations, modern.augmentations) == (9, None)


def test_a_method_that_needs_one_label_a_sample_is_refused_where_samples_are_mixed():
    offered = [find_card(name).offers for name in ("digits", "digits@modern")]
    assert offered[0] - offered[1] == {"one label a sample"}


def test_the_learning_rate_of_another_recipe_is_ours_and_searched_around_its_own():
    found = find_card("digits@modern").recipe.hyperparameters()["lr"]
    assert (found.source, found.default, found.low, found.high) == ("ours", 3e-3, pytest.approx(6e-4), pytest.approx(1.2e-2))


@pytest.mark.parametrize("name", ["grammar@modern", "scenes@modern", "scenes-depth@modern", "tones@modern"])
def test_other_tracks_have_no_recipe_for_images(name):
    with pytest.raises(UserError, match="is for images with one label each, and task"):
        find_card(name)


def test_a_recipe_is_given_to_every_task_that_it_fits(capsys):
    assert [card.name for card in choose_tasks("all", None, recipe="modern")] == ["digits@modern"]
    assert "task grammar is left out: recipe modern is for images" in capsys.readouterr().err
    assert [card.name for card in choose_tasks("digits,digits@modern", None)] == ["digits", "digits@modern"]
    with pytest.raises(UserError, match="--recipe modern: recipe modern is for images with one label each, and task grammar has none; name other --tasks"):
        choose_tasks("digits,grammar", None, recipe="modern")


def test_mixed_images_have_no_numbered_views():
    with pytest.raises(UserError, match="--views 4: the images of task digits@modern are mixed anew in every step"):
        request_from({"views": 4}, [], [find_card("digits@modern")])


def test_a_recipe_is_given_once():
    card = find_card("digits@modern")
    assert with_recipe(card, "modern") is card
    assert without_recipe("a@b@modern") == ("a@b", "modern")
    assert without_recipe("me@home") == ("me@home", None)
    assert set(RECIPES) == {"modern"}
