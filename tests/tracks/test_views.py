"""Batches know their views: the same number is the same picture, whatever the seed."""

import functools
from dataclasses import replace
from itertools import islice

import pytest
import torch

from kdarena.testing.task import ToyTask, toy_task
from kdarena.tracks import find_card
from kdarena.tracks.classification.augment import Augmentation
from kdarena.tracks.lock import training_view
from kdarena.tracks.values import Setting, Split
from kdarena.tracks.views import FixedViews, Views


@functools.cache
def loaded(name, views=None):
    if name == "toy":
        return toy_task(views=views)
    card = find_card(name)
    return card.load(card, Setting(views=views))


def two_batches(task, data="augmented"):
    return [batch for seed in (0, 1) for batch in islice(task.batches(Split(seed), data), 2)]


TONES = pytest.param("tones", None, marks=pytest.mark.slow)
ENUMERABLE = pytest.mark.parametrize(("name", "views"), [("digits", None), ("digits", 2), ("scenes", 2), ("toy", 3), ("grammar", None), TONES])


@ENUMERABLE
def test_what_a_teacher_sees_of_a_view_is_the_same_for_every_seed(name, views):
    task = loaded(name, views)
    for batch in two_batches(task):
        seen = task.seen(batch.view.cpu() // task.views, batch.view.cpu() % task.views).inputs
        own = batch.seen_by_teacher().inputs
        length = own.shape[1] if name in ("grammar", "tones") else seen.shape[1]
        assert torch.allclose(seen[:, :length], own, atol=1e-6)


@ENUMERABLE
def test_every_view_has_a_number_below_the_number_of_views(name, views):
    task = loaded(name, views)
    numbers = torch.cat([batch.view for batch in two_batches(task)])
    assert 0 <= int(numbers.min()) <= int(numbers.max()) < task.parts.train * task.views


def test_a_digit_has_nine_views_each_with_another_crop():
    task = loaded("digits")
    crops = task.seen(torch.full((9,), 7), torch.arange(9)).inputs.flatten(1)
    assert task.views == task.card.augmentations == 9
    assert len(torch.unique(crops, dim=0)) == 9


def test_an_unaugmented_digit_is_one_of_its_views():
    task = loaded("digits")
    batch = next(task.batches(Split(0), "plain"))
    assert torch.equal(task.seen(batch.view // 9, batch.view % 9).inputs, batch.inputs)


def test_where_there_are_too_many_views_none_has_a_number():
    assert Augmentation(4, True).views().count is None
    assert loaded("scenes").views is None
    assert next(loaded("scenes").batches(Split(0), "augmented")).view is None


def test_samples_of_the_test_half_have_no_view():
    for name in ("digits", "grammar", "scenes"):
        rows = torch.arange(2)
        assert loaded(name).batch("test", rows, rows, None).view is None


def test_the_draws_without_fixed_views_are_those_of_the_augmentation():
    augmentation, rows = Augmentation(1, False), torch.arange(50)
    first, second = (torch.Generator().manual_seed(3) for _ in range(2))
    for views in (augmentation.views(), Views(augmentation.draw)):
        assert torch.equal(views.drawn(rows, first)[0], augmentation.draw(50, second))


def test_fixed_views_are_the_same_for_every_seed_and_each_sample_has_its_own():
    augmentation, rows = Augmentation(4, True), torch.arange(100)
    once, again = (FixedViews(augmentation.draw, 100, 4) for _ in range(2))
    numbers = torch.zeros(100, dtype=torch.long)
    assert torch.equal(once.numbered(rows, numbers), again.numbered(rows, numbers))
    assert len(torch.unique(once.numbered(rows, numbers), dim=0)) > 10


def test_a_teacher_is_trained_on_the_same_fixed_views():
    task = ToyTask(replace(toy_task().card, parallel=False), Setting(views=1))
    first, second = next(task.batches(Split(0), "augmented")), next(task.batches(Split(5), "augmented"))
    shared = sorted(set(first.view.tolist()) & set(second.view.tolist()))
    assert shared
    for view in shared:
        assert torch.equal(first.inputs[first.view == view], second.inputs[second.view == view])


def test_a_method_gets_no_view_of_samples_that_it_does_not_train_on():
    view = training_view(loaded("digits"), Split(0), auxiliary=False)
    with pytest.raises(Exception, match="asks the task for seen"):
        view.seen(torch.arange(2), torch.arange(2))
