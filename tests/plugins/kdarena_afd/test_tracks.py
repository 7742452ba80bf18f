"""AFD on pixels, tokens and frames: sequences one by one, without their padding, in the place of masks."""

import functools
import math

import pytest
import torch
from kdarena_afd import variants
from kdarena_afd.networks import Discriminator, TransferLayer, feature_extractor
from torch import nn
from torch.distributions import Categorical, kl_divergence
from torch.utils._python_dispatch import TorchDispatchMode

from kdarena import NotApplicable
from kdarena.testing.run import make_run, new_step, take_steps
from kdarena.tracks import find_card
from kdarena.tracks.values import Batch, Setting

PAIR, CYCLE, LARGE = variants
ALL = pytest.mark.parametrize("plugin", variants, ids=lambda plugin: plugin.method.name)
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
LENGTHS = (7, 4, 1, 6)


@functools.cache
def loaded(name):
    card = find_card(name)
    return card.load(card, Setting())


def sequences(channels=5, longest=9):
    """Maps of one column [B, C, L, 1], zero at padding, and their real positions [B, L]."""
    real = torch.arange(longest) < torch.tensor(LENGTHS)[:, None]
    return torch.randn(len(LENGTHS), channels, longest, 1, generator=torch.Generator().manual_seed(0)) * real[:, None, :, None], real


def with_statistics(module):
    """Batch norm of a network in eval mode with statistics that are not the first ones."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.5, 0.5)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.uniform_(layer.bias, -1.0, 1.0)
    return module.eval().requires_grad_(False)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_discriminator_sees_a_sequence_as_if_it_were_alone(depth):
    torch.manual_seed(0)  # by some weights a narrow critic happens to see hardly anything of its map
    maps, real = sequences()
    critic = with_statistics(Discriminator(5, depth))
    alone = torch.cat([critic(one[None, :, :length]) for one, length in zip(maps, LENGTHS, strict=True)])
    torch.testing.assert_close(critic(maps, real), alone, **CLOSE)
    assert not torch.allclose(critic(maps), alone, atol=1e-4)


def test_a_transfer_layer_sees_a_sequence_as_if_it_were_alone():
    maps, real = sequences()
    transfer = with_statistics(TransferLayer(5, 3, None))
    found = transfer(maps, real)
    for one, other, length in zip(found, maps, LENGTHS, strict=True):
        torch.testing.assert_close(one[:, :length], transfer(other[None, :, :length])[0], **CLOSE)
        assert not one[:, length:].any()


def test_batch_norm_counts_real_positions_alone():
    maps, real = sequences()
    critic = Discriminator(5, 1)
    rows = critic.layers[0](maps).movedim(1, 3)[real[:, ::2, None]].double()
    critic(maps, real)
    torch.testing.assert_close(critic.layers[1].running_mean.double(), 0.1 * rows.mean(dim=0), **CLOSE)
    torch.testing.assert_close(critic.layers[1].running_var.double(), 0.9 + 0.1 * rows.var(dim=0), **CLOSE)


@ALL
@pytest.mark.parametrize("name", ["scenes", "grammar", "tones:aed128-aed64"])
def test_its_three_updates_train_there(plugin, name):
    task = loaded(name)
    assert plugin.method.covers(task.card.track)
    assert plugin.method.reason_against(task.card, plugin.method.Params()) is None
    run = make_run(plugin, task)
    student = run.learner.student
    step = new_step(run, update="adversarial")
    reached = torch.autograd.grad(run.loss(step)["g0"], feature_extractor(student), allow_unused=True)
    assert any(one is not None and float(one.abs().max()) > 0 for one in reached)
    before = [parameter.detach().clone() for parameter in student.parameters()]
    history = take_steps(run, 2)
    assert all(math.isfinite(value) for one in history for value in one.values())
    assert sum(not torch.equal(one, other) for one, other in zip(student.parameters(), before, strict=True)) > 0.8 * len(before)


@ALL
def test_networks_that_all_start_from_the_teacher_are_refused(plugin):
    assert "students that start afresh" in plugin.method.reason_against(find_card("tones"), plugin.method.Params())


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
        before, after = ({key: term.item() for key, term in run.loss(new_step(run, update=update, batch=one)).items()} for one in (batch, padded))
        assert after == pytest.approx(before, rel=1e-4, abs=1e-6)


def test_each_transfer_layer_runs_once_a_step():
    run = make_run(LARGE, loaded("tones:aed128-aed64"))
    calls = []
    assert len(run.instance.transfers) == 2
    for transfer in run.instance.transfers:
        transfer.register_forward_pre_hook(lambda module, inputs: calls.append(module))
    take_steps(run, 2)
    assert [calls.count(transfer) for transfer in run.instance.transfers] == [2, 2]
    assert {int(transfer.layers[1].num_batches_tracked) for transfer in run.instance.transfers} == {2}


class Watch(TorchDispatchMode):
    """Keeps the operations that read a value back to the host or whose shape depends on data."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name
        by_mask = name.startswith("aten::index") and any(one is not None and one.dtype == torch.bool for one in args[1] if isinstance(args[1], list))
        if by_mask or name in {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::is_nonzero", "aten::equal"}:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


@ALL
@pytest.mark.parametrize("name", ["grammar", "tones:aed128-aed64"])
def test_its_losses_read_nothing_back_to_the_host_on_sequences(plugin, name):
    run = make_run(plugin, loaded(name))
    step = new_step(run)
    _ = step.student  # what the networks themselves do is the track's
    for network in run.instance.peers:
        step.forward(network)
    with Watch() as watch:
        for update in ("adversarial", "critic"):
            step.update = update
            sum(run.loss(step).values()).backward(retain_graph=True)
    assert watch.seen == []


def test_sequences_of_unequal_lengths_are_refused():
    run = make_run(LARGE, loaded("tones:aed64-aed32"))  # they take two and three frames as one
    with pytest.raises(NotApplicable, match="positions of the same samples"):
        run.loss(new_step(run, update="adversarial"))


def test_the_mutual_term_is_the_mean_over_all_pixels_of_the_score_map():
    task = loaded("scenes")
    run = make_run(PAIR, task)
    step = new_step(run, update="logit")
    terms = run.loss(step)
    own, peer = (step.forward(network).logits.detach().double() for network in (run.learner.student, run.learner.helpers["peer1"]))
    pixels = []
    for image in range(len(own)):
        p_prev, p_k = (Categorical(logits=scores[image].flatten(1).T / 3.0) for scores in (peer, own))
        pixels.append(9.0 * kl_divergence(p_prev, p_k))
    torch.testing.assert_close(terms["kl0"].double(), torch.cat(pixels).mean(), **CLOSE)
