"""Weights that are kept for a learning curve change no method's training by a bit."""

import pytest
import torch

from kdarena.execute.train import Training
from kdarena.method.discovery import discover
from kdarena.params import make_params
from kdarena.plan.spec import PhaseCost
from kdarena.testing.run import make_run
from kdarena.testing.task import toy_task
from kdarena.tracks import cards
from kdarena.tracks.values import Setting

STEPS = 5
PLUGINS = {plugin.name: plugin for plugin in discover()}
SEVERAL_KINDS = ("student", "ban", "quest", "afd", "okddip", "fickle", "crd")
"""One loss, generations, a vocabulary that is fitted first, several optimisers, peers, a teacher that draws, a bank."""
EMBEDDED = [card for card in cards() if card.embedded]


def trained(name, task, places):
    """The student's state after a few steps of every phase, what its generators draw next, its curves, and the steps that were kept."""
    run = make_run(PLUGINS[name].implementation, task)
    costs = [PhaseCost(phase.name, phase.steps, phase.share, 1.0, None, None, 0) for phase in run.phases]
    amount = float(sum(phase.steps or STEPS for phase in run.phases))
    training = Training(run.hooks, run, run.phases, costs, amount, places=places)
    curves = training().curves
    return run.learner.student.state_dict(), torch.rand(1), curves, [steps for steps, _ in training.kept]


def check(name, task):
    plain, drawn, curves, _ = trained(name, task, ())
    state, drawn_too, curves_too, kept = trained(name, task, (1 / 8, 1 / 4, 1 / 2, 3 / 4))
    assert len(kept) > 1
    assert all(torch.equal(tensor, state[name]) for name, tensor in plain.items())
    assert torch.equal(drawn, drawn_too)
    assert curves == curves_too


@pytest.mark.parametrize("name", SEVERAL_KINDS)
def test_methods_of_several_kinds_end_with_the_same_bits(name):
    check(name, toy_task())


@pytest.mark.slow
@pytest.mark.parametrize("card", EMBEDDED, ids=[card.name for card in EMBEDDED])
def test_every_method_on_every_embedded_task_ends_with_the_same_bits(card):
    task = card.load(card, Setting())
    methods = [name for name, plugin in PLUGINS.items() if plugin.method.reason_against(card, make_params(plugin.method.Params, {})) is None]
    assert len(methods) >= 3
    for name in methods:
        check(name, task)
