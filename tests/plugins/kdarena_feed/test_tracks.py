"""FEED and BAN on pixels, tokens and frames: sequences one by one, without their padding, in the place of masks."""

import functools
import math

import pytest
import torch
from kdarena_feed import variants
from kdarena_feed.transformation import NTL, l_feed
from torch import nn

from kdarena.testing.run import make_run, new_step, take_phases, take_steps
from kdarena.tracks import find_card
from kdarena.tracks.values import Batch, Setting

PFEED, SFEED, BAN, _, DKPP = variants
CLOSE = {"rtol": 1e-4, "atol": 1e-6}
LENGTHS = (7, 4, 1, 6)
TASKS = pytest.mark.parametrize("name", ["scenes", "grammar", "tones"])


@functools.cache
def loaded(name):
    card = find_card(name)
    return card.load(card, Setting())


def teachers(task, count):
    return [task.new_network(task.card.teacher).eval() for _ in range(count)]


def sequences(channels=5, longest=9, seed=0):
    """Maps of one column [B, C, L, 1], zero at padding, and their real positions [B, L]."""
    real = torch.arange(longest) < torch.tensor(LENGTHS)[:, None]
    return torch.randn(len(LENGTHS), channels, longest, 1, generator=torch.Generator().manual_seed(seed)) * real[:, None, :, None], real


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_transformation_sees_a_sequence_as_if_it_were_alone(batch_norm):
    maps, real = sequences()
    ntl = NTL(5, 4, last_activation=True, batch_norm=batch_norm).eval().requires_grad_(False)
    for layer in ntl.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.bias, -1.0, 1.0)
    found = ntl(maps, real)
    for one, other, length in zip(found, maps, LENGTHS, strict=True):
        torch.testing.assert_close(one[:, :length], ntl(other[None, :, :length])[0], **CLOSE)
        assert not one[:, length:].any()
    assert not torch.allclose(ntl(maps) * real[:, None, :, None], found, atol=1e-4)


def test_batch_norm_counts_real_positions_alone():
    maps, real = sequences()
    ntl = NTL(5, 4, last_activation=True, batch_norm=True)
    rows = ntl.layers[0](maps).movedim(1, 3)[real[:, :, None]].double()
    ntl(maps, real)
    torch.testing.assert_close(ntl.layers[1].running_mean.double(), 0.1 * rows.mean(dim=0), **CLOSE)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_loss_of_sequences_is_the_mean_of_those_that_each_has_alone(reduction):
    (x_t, real), (transformed, _) = sequences(), sequences(seed=1)
    alone = [l_feed(a[None, :, :n], b[None, :, :n], reduction) for a, b, n in zip(x_t, transformed, LENGTHS, strict=True)]
    torch.testing.assert_close(l_feed(x_t, transformed, reduction, real), torch.stack(alone).mean(), **CLOSE)


@TASKS
def test_the_ensemble_trains_there(name):
    task = loaded(name)
    assert PFEED.method.covers(task.card.track)
    assert PFEED.method.reason_against(task.card, PFEED.method.Params()) is None
    run = make_run(PFEED, task, {"teachers": 2}, teachers=teachers(task, 2))
    gradients = torch.autograd.grad(run.loss(new_step(run))["feed1"], list(run.learner.student.parameters()), allow_unused=True)
    assert any(one is not None and float(one.abs().max()) > 0 for one in gradients)
    history = take_steps(run, 2)
    assert all(math.isfinite(value) for step in history for value in step.values())


@TASKS
@pytest.mark.parametrize("plugin", [SFEED, BAN, DKPP], ids=lambda plugin: plugin.method.name)
def test_generations_train_there(plugin, name):
    task = loaded(name)
    assert plugin.method.covers(task.card.track)
    assert plugin.method.reason_against(task.card, plugin.method.Params()) is None
    run = make_run(plugin, task, {"generations": 2})
    histories = take_phases(run, 2)
    assert all(math.isfinite(value) for history in histories.values() for step in history for value in step.values())


@pytest.mark.parametrize("name", ["grammar", "tones"])
def test_padding_changes_no_term(name):
    task = loaded(name)
    run = make_run(PFEED, task, {"teachers": 1}, teachers=teachers(task, 1))
    run.learner.student.eval()  # no dropout
    batch = next(run.augmented)
    further = (0, 6) if batch.inputs.dim() == 2 else (0, 0, 0, 6)
    of_teacher = None if batch.teacher_inputs is None else nn.functional.pad(batch.teacher_inputs, further)
    padded = Batch(nn.functional.pad(batch.inputs, further), batch.targets, batch.index, of_teacher)
    before, after = ({key: term.item() for key, term in run.loss(new_step(run, batch=one)).items()} for one in (batch, padded))
    assert after == pytest.approx(before, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", ["scenes", "grammar", "tones"])
def test_the_term_is_that_of_each_samples_own_map(name):
    task = loaded(name)
    run = make_run(PFEED, task, {"teachers": 1}, teachers=teachers(task, 1))
    step = new_step(run)
    x_t, x_s, tokens = step.teacher.feature_map, step.student.feature_map, step.student.tokens
    total = 0.0
    for sample in range(len(x_t)):
        length = x_t.shape[2] if tokens is None else int(tokens[sample].sum())
        transformed = run.learner.helpers["ntl0"](x_s[sample : sample + 1, :, :length])
        a, b = (one.detach().double().flatten() for one in (x_t[sample, :, :length], transformed))
        total += float((a / a.norm() - b / b.norm()).abs().mean()) / len(x_t)
    assert float(run.loss(step)["feed0"].detach()) == pytest.approx(500 * total, rel=1e-4)


@pytest.mark.parametrize(("plugin", "term"), [(SFEED, "feed"), (BAN, "ban")], ids=["sfeed", "ban"])
def test_a_generation_hears_what_it_learned_from_and_not_what_given_teachers_hear(plugin, term):
    task = loaded("tones")
    run = make_run(plugin, task, {"generations": 2})
    take_steps(run, 1, "generation0")
    take_steps(run, 1, "generation1")
    run.learner.student.eval()  # no dropout
    batch = next(run.augmented)
    values = [run.loss(new_step(run, batch=Batch(batch.inputs, batch.targets, batch.index, seen)))[term].item() for seen in (None, batch.teacher_inputs)]
    assert values[0] == values[1]
