"""Mixed and erased batches."""

from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch.nn import functional

from kdarena.execute.train import begin_phase
from kdarena.testing.replays import Replays
from kdarena.testing.run import make_run, new_step, take_steps
from kdarena.testing.task import toy_task
from kdarena.tracks import find_card, load_task
from kdarena.tracks.mixing import Mixing
from kdarena.tracks.recipe import Recipe
from kdarena.tracks.recipes import modern
from kdarena.tracks.values import Batch, Outputs, Setting, Split

PLAIN = Recipe(lr=0.1, weight_decay=0.0, momentum=0.9, batch_size=64, teacher_epochs=1)


def numbered(count=64, side=8):
    """Images each pixel of which is its image's number from 1 on."""
    images = torch.arange(1, count + 1.0)[:, None, None, None].expand(count, 3, side, side).contiguous(memory_format=torch.channels_last)
    return Batch(images, torch.arange(count), torch.arange(count), view=torch.arange(count))


def mixed(seed=0, batches=8, **strengths):
    mixing = Mixing(replace(PLAIN, **strengths), seed)
    return [mixing(numbered()) for _ in range(batches)]


@pytest.mark.parametrize("strengths", [{"mixup": 0.2}, {"cutmix": 1.0}, {"mixup": 1.0, "cutmix": 1.0}], ids=lambda given: "+".join(given))
def test_the_parts_of_a_mixed_image_are_those_of_its_label_and_the_larger_is_its_own(strengths):
    for batch in mixed(**strengths):
        own, other = batch.targets + 1.0, batch.mixed_with + 1.0
        wanted = batch.share * own + (1 - batch.share) * other
        assert torch.allclose(batch.inputs.mean(dim=(1, 2, 3)), wanted, atol=1e-3)
        assert bool((batch.share >= 0.5).all()) and bool((batch.share < 1).any())
        assert batch.inputs.is_contiguous(memory_format=torch.channels_last)
        assert batch.view is None


def test_cutmix_takes_each_pixel_from_one_image_and_mixup_from_both():
    (cut,), (blended,) = mixed(batches=1, cutmix=1.0), mixed(batches=1, mixup=1.0)
    assert bool((cut.inputs == cut.inputs.round()).all())
    assert bool((blended.inputs == blended.inputs.flatten(1)[:, :1, None, None]).all())


def test_a_box_of_some_images_is_erased():
    erased = torch.cat([(batch.inputs == 0).flatten(1).float().mean(dim=1) for batch in mixed(batches=64, erasing=0.25)])
    assert 0.15 < float((erased > 0).float().mean()) < 0.3
    assert float(erased.max()) <= 0.5
    assert all(bool((batch.share == 1).all()) for batch in mixed(batches=2, erasing=0.25))


def test_a_seed_decides_what_is_mixed():
    first, again, other = (torch.stack([batch.inputs for batch in mixed(seed, 70, mixup=0.2, cutmix=1.0, erasing=0.1)]) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_several_batches_at_once_are_mixed_as_one_after_the_other():
    recipe = replace(PLAIN, mixup=0.2, cutmix=1.0, erasing=0.1)
    together, apart = Mixing(recipe, 0), Mixing(recipe, 0)
    whole = numbered(256)
    every = together(whole)
    for part in range(4):
        rows = slice(64 * part, 64 * part + 64)
        one = apart(Batch(whole.inputs[rows], whole.targets[rows], whole.index[rows]))
        assert torch.equal(every.inputs[rows], one.inputs) and torch.equal(every.mixed_with[rows], one.mixed_with) and torch.equal(every.share[rows], one.share)


def test_the_loss_of_a_mixed_batch_takes_both_labels_and_other_labels_as_they_are():
    task = toy_task(recipe=replace(PLAIN, batch_size=16, mixup=1.0, smoothing=0.1))
    batch = next(task.batches(Split(0), "augmented"))
    logits = torch.randn(16, task.classes)
    task.trained_on = batch
    soft = 0.9 * functional.one_hot(batch.targets, task.classes) + 0.1 / task.classes
    other = 0.9 * functional.one_hot(batch.mixed_with, task.classes) + 0.1 / task.classes
    wanted = -((batch.share[:, None] * soft + (1 - batch.share[:, None]) * other) * logits.log_softmax(dim=1)).sum(dim=1).mean()
    assert torch.allclose(task.loss(Outputs(logits), batch.targets), wanted)
    assert torch.allclose(task.loss(Outputs(logits), batch.targets.clone()), functional.cross_entropy(logits, batch.targets, label_smoothing=0.1))


def test_the_recipes_of_papers_have_the_loss_that_they_had():
    task = toy_task()
    batch, logits = next(task.batches(Split(0), "augmented")), torch.randn(16, 4)
    assert batch.share is None
    assert torch.equal(task.loss(Outputs(logits), batch.targets), functional.cross_entropy(logits, batch.targets))


def test_teacher_and_student_see_the_same_mixed_images_and_all_methods_the_same():
    import kdarena_kd.kd

    from kdarena.method.student import Student

    task = load_task(find_card("digits@modern"), Setting())
    own = load_task(find_card("digits"), Setting())
    steps = [new_step(make_run(plugin, task, teachers=[task.new_network("digits-teacher").eval()])) for plugin in (kdarena_kd.kd, Student)]
    assert steps[0].inputs is steps[0].teacher_inputs
    assert torch.equal(steps[0].inputs, steps[1].inputs)
    plain = next(own.batches(Split(0), "augmented"))
    assert torch.equal(steps[0].targets, plain.targets) and torch.equal(steps[0].index, plain.index)
    assert not torch.equal(steps[0].inputs, plain.inputs)
    assert task.views is None and own.views == 9
    for batch in islice(task.batches(Split(0), "plain"), 2):
        assert batch.share is None


def test_mixed_steps_are_captured_and_replayed():
    import kdarena_kd.kd

    task = toy_task(recipe=replace(modern(PLAIN), batch_size=16))
    run = make_run(kdarena_kd.kd, task)
    run.hooks.capture = Replays(checked=True, tolerance=1e-5)
    stepper, batches = begin_phase(run.hooks, run, run.phases[-1], {}, run.augmented)
    for position in range(12):
        stepper.take(next(batches), position / 12, position / 12)
    assert run.hooks.eager == {}
    assert run.hooks.capture.replayed > 5


def test_a_student_learns_from_mixed_images():
    from kdarena.method.student import Student

    task = load_task(find_card("digits@modern"), Setting())
    run = make_run(Student, task)
    first, last = take_steps(run, 20), take_steps(run, 300)[-20:]
    assert sum(sum(terms.values()) for terms in last) < 0.9 * sum(sum(terms.values()) for terms in first)
