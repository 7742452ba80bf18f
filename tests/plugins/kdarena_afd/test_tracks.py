"""AFD on pixels, tokens and frames: sequences one by one, without their padding, in the place of masks."""

import functools
import math

import pytest
import torch
from kdarena_afd import variants
from kdarena_afd.networks import Discriminator, TransferLayer, feature_extractor
from torch import nn
from torch.distributions import Categorical, kl_divergence

from kdarena import NotApplicable
from kdarena.testing.run import make_run, new_step, take_steps
from kdarena.tracks import find_card
from kdarena.tracks.task import Batch, Setting

PAIR, CYCLE, LARGE = variants
ALL = pytest.mark.parametrize("plugin", variants, ids=lambda plugin: plugin.method.name)
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
LENGTHS = (7, 4, 1, 6)


@functools.cache
def loaded(name):
    card = find_card(name)
    return card.load(card, Setting())


def sequences(channels=5, longest=9):
    """Maps of one column [B, C, L, 1], zero at padding, and their real positions [B, 1, L, 1]."""
    real = (torch.arange(longest) < torch.tensor(LENGTHS)[:, None])[:, None, :, None]
    return torch.randn(len(LENGTHS), channels, longest, 1, generator=torch.Generator().manual_seed(0)) * real, real


def with_statistics(module):
    """Batch norm of a network in eval mode with statistics that are not the first ones."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.5, 0.5)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.uniform_(layer.bias, -1.0, 1.0)
    return module.eval().requires_grad_(False)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_discriminator_sees_a_sequence_as_if_it_stood_alone(depth):
    maps, real = sequences()
    critic = with_statistics(Discriminator(5, depth))
    alone = torch.cat([critic(one[None, :, :length]) for one, length in zip(maps, LENGTHS, strict=True)])
    torch.testing.assert_close(critic(maps, real), alone, **CLOSE)
    assert not torch.allclose(critic(maps), alone, atol=1e-4)


def test_a_transfer_layer_sees_a_sequence_as_if_it_stood_alone():
    maps, real = sequences()
    transfer = with_statistics(TransferLayer(5, 3, None))
    found = transfer(maps, real)
    for one, other, length in zip(found, maps, LENGTHS, strict=True):
        torch.testing.assert_close(one[:, :length], transfer(other[None, :, :length])[0], **CLOSE)
        assert not one[:, length:].any()


def test_batch_norm_counts_real_positions_alone():
    maps, real = sequences()
    critic = Discriminator(5, 1)
    rows = critic.layers[0](maps).movedim(1, 3)[real[:, 0, ::2]].double()
    critic(maps, real)
    torch.testing.assert_close(critic.layers[1].running_mean.double(), 0.1 * rows.mean(dim=0), **CLOSE)
    torch.testing.assert_close(critic.layers[1].running_var.double(), 0.9 + 0.1 * rows.var(dim=0), **CLOSE)


@ALL
@pytest.mark.parametrize("name", ["scenes", "grammar", "tones:aed128-aed64"])
def test_its_three_updates_train_there(plugin, name):
    task = loaded(name)
    assert plugin.method.covers(task.card.track)
    assert plugin.method.applies(task.card, plugin.method.Params()) is None
    run = make_run(plugin, task)
    student = run.learner.student
    step = new_step(run, update="adversarial")
    reached = torch.autograd.grad(plugin.loss(step)["g0"], feature_extractor(student), allow_unused=True)
    assert any(one is not None and float(one.abs().max()) > 0 for one in reached)
    before = [parameter.detach().clone() for parameter in student.parameters()]
    history = take_steps(run, 2)
    assert all(math.isfinite(value) for one in history for value in one.values())
    assert sum(not torch.equal(one, other) for one, other in zip(student.parameters(), before, strict=True)) > 0.8 * len(before)


@ALL
def test_networks_that_all_start_from_the_teacher_are_refused(plugin):
    assert "start from the teacher" in plugin.method.applies(find_card("tones"), plugin.method.Params())


@pytest.mark.parametrize(("plugin", "name"), [(CYCLE, "grammar"), (LARGE, "tones:aed128-aed64")], ids=["tokens", "frames"])
def test_padding_changes_no_term(plugin, name):
    task = loaded(name)
    run = make_run(plugin, task)
    for module in run.learner.modules():
        if not isinstance(module, Discriminator):
            module.eval()
    batch = next(run.augmented)
    further = (0, 6) if batch.inputs.dim() == 2 else (0, 0, 0, 6)
    padded = Batch(nn.functional.pad(batch.inputs, further), batch.targets, batch.index)
    for update in ("logit", "adversarial", "critic"):
        before, after = ({key: term.item() for key, term in plugin.loss(new_step(run, update=update, batch=one)).items()} for one in (batch, padded))
        assert after == pytest.approx(before, rel=1e-4, abs=1e-6)


def test_sequences_of_unequal_lengths_are_refused():
    run = make_run(LARGE, loaded("tones:aed64-aed32"))  # they take two and three frames as one
    with pytest.raises(NotApplicable, match="positions of the same samples"):
        LARGE.loss(new_step(run, update="adversarial"))


def test_the_mutual_term_is_the_mean_over_all_pixels_of_the_score_map():
    task = loaded("scenes")
    run = make_run(PAIR, task)
    step = new_step(run, update="logit")
    terms = PAIR.loss(step)
    own, peer = (step.forward(network).logits.detach().double() for network in (run.learner.student, run.learner.helpers["peer1"]))
    pixels = []
    for image in range(len(own)):
        p_prev, p_k = (Categorical(logits=scores[image].flatten(1).T / 3.0) for scores in (peer, own))
        pixels.append(9.0 * kl_divergence(p_prev, p_k))
    torch.testing.assert_close(terms["kl0"].double(), torch.cat(pixels).mean(), **CLOSE)
