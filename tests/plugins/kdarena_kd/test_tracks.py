"""The three rows on tokens: those up to the end of a sentence count, padding does not."""

import functools

import pytest
import torch
from kdarena_kd import variants
from torch import nn

from kdarena.testing.run import make_run, new_step
from kdarena.tracks import find_card
from kdarena.tracks.values import Batch, Setting

KD, ENSEMBLE, DML = variants
T = 2.0
# networks that all start from one teacher's weights, as those of "tones" do, are no peers
ROWS = pytest.mark.parametrize(("plugin", "name"), [(KD, "tones"), (ENSEMBLE, "tones"), (DML, "tones:aed64-aed32")], ids=["kd", "kd-ensemble", "dml"])


@functools.cache
def loaded(name):
    card = find_card(name)
    return card.load(card, Setting())


def run_without_dropout(plugin, name):
    """A run in eval mode, all of whose networks are sure of something at every position, padding included."""
    task = loaded(name)
    params = {"temperature": T, **({"w": 3.0} if plugin is DML else {"a": 0.7})}
    count = len(plugin.method.teachers(task.card, plugin.method.Params()))
    run = make_run(plugin, task, params, teachers=[task.new_network(task.card.teacher).eval().requires_grad_(False) for _ in range(count)])
    for network in (*run.learner.modules(), *run.teachers):
        network.eval()
        with torch.no_grad():
            network.classifier.weight.copy_(torch.randn(network.classifier.weight.shape))
    return run


def divergence(log_target, log_probability):
    return float((log_target.exp() * (log_target - log_probability)).sum())


def naive_terms(plugin, run, step):
    """Every term as a mean over the tokens of the sentences, one token after the other."""
    networks = [step.forward(network).logits.detach().double() for network in run.learner.modules()]
    teachers = [teacher.logits.double() for teacher in step.teachers] if run.teachers else []
    values = {}
    places = (step.targets != -100).nonzero().tolist()
    for utterance, position in places:
        label = int(step.targets[utterance, position])
        soft = [torch.log_softmax(z[utterance, position] / T, dim=0) for z in networks]
        found = {f"ce{k}": -float(torch.log_softmax(z[utterance, position], dim=0)[label]) for k, z in enumerate(networks)}
        if plugin is DML:
            found |= {f"kl{j}to{k}": 3.0 * T**2 * divergence(soft[j], soft[k]) for j in range(2) for k in range(2) if j != k}
        else:
            mean = sum(torch.softmax(z[utterance, position] / T, dim=0) for z in teachers) / len(teachers)
            found = {"ce": 0.3 * found["ce0"], "kl": 0.7 * T**2 * divergence(mean.log(), soft[0])}
        for name, value in found.items():
            values[name] = values.get(name, 0.0) + value / len(places)
    return values


def terms_of(step):
    return {name: float(term.detach()) for name, term in step.run.loss(step).items()}


@ROWS
def test_each_term_is_the_mean_over_the_tokens_up_to_the_ends_of_the_sentences(plugin, name):
    run = run_without_dropout(plugin, name)
    step = new_step(run)
    assert plugin.method.reason_against(run.task.card, run.params) is None
    assert bool((step.targets == -100).any())
    assert terms_of(step) == pytest.approx(naive_terms(plugin, run, step), rel=1e-4)


@ROWS
def test_padding_changes_no_term(plugin, name):
    run = run_without_dropout(plugin, name)
    batch = next(run.augmented)
    inputs, of_teacher = (nn.functional.pad(audio, (0, 0, 0, 6)) for audio in (batch.inputs, batch.teacher_inputs))
    padded = Batch(inputs, nn.functional.pad(batch.targets, (0, 3), value=-100), batch.index, of_teacher)
    before, after = (terms_of(new_step(run, batch=one)) for one in (batch, padded))
    assert after == pytest.approx(before, rel=1e-4)
