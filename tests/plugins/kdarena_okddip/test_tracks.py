"""OKDDip on pixels and sentences, image by image and peer by peer."""

import functools
import math

import pytest
import torch
from kdarena_okddip import variants
from torch.distributions import Categorical, kl_divergence

from kdarena.testing.run import make_run, new_step, take_steps
from kdarena.tracks import find_card
from kdarena.tracks.values import Setting, Split

OKDDIP, BRANCHES = variants
T = 2.0
TASKS = pytest.mark.parametrize("name", ["scenes", "grammar"])


@functools.cache
def loaded(name):
    card = find_card(name)
    return card.load(card, Setting())


@TASKS
def test_everything_trains_there(name):
    task = loaded(name)
    assert OKDDIP.method.covers(task.card.track)
    run = make_run(OKDDIP, task)
    modules = {"leader": run.learner.student, **run.learner.helpers}
    terms = run.loss(new_step(run))
    for module in modules.values():
        gradients = torch.autograd.grad(terms["dis1"] + terms["dis2"], list(module.parameters()), retain_graph=True, allow_unused=True)
        assert any(one is not None and float(one.abs().max()) > 0 for one in gradients)
    history = take_steps(run, 2)
    assert all(math.isfinite(value) for step in history for value in step.values())


@TASKS
def test_the_peers_together_are_scored_and_their_diversity_is_recorded(name):
    task = loaded(name)
    run = make_run(OKDDIP, task, {"students": 3})
    scored = task.evaluate(run.learner.deploy["ensemble"], "validation", Split(0))
    assert 0 <= scored[task.card.metric] <= 100 or task.card.metric == "matthews"
    assert run.learner.report(task.evaluation("validation", Split(0)))["diversity"] > 0


@pytest.mark.parametrize("mix", ["logit", "prob"])
def test_all_pixels_of_an_image_have_the_attention_of_its_mean_map(mix):
    run = make_run(OKDDIP, loaded("scenes"), {"temperature": T, "ramp_up": 0.0, "mix": mix})
    attention = run.instance.attention
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.mul_(20)
    step = new_step(run)
    terms = run.loss(step)
    peers = [step.forward(helper) for name, helper in run.learner.helpers.items() if name.startswith("peer")]
    w_l, w_e = attention.query.weight.double(), attention.key.weight.double()
    dis1, dis2, spread = [], [], []
    for image in range(len(step.inputs)):
        z = [peer.logits[image].flatten(1).T.double() for peer in peers]
        h = [peer.features["psp"][image].flatten(1).mean(dim=1).double() for peer in peers]
        q = [torch.softmax(one / T, dim=1) for one in z]
        for a in range(len(peers)):
            alpha = torch.softmax(torch.stack([(w_l @ h[a]) @ (w_e @ h[b]) for b in range(len(peers))]), dim=0)
            spread.append(float(alpha.detach().max()))
            t = sum(alpha[b] * q[b] for b in range(len(peers)))
            if mix == "logit":
                t = torch.softmax(sum(alpha[b] * z[b] for b in range(len(peers))) / T, dim=1)
            dis1.append(T**2 * kl_divergence(Categorical(t), Categorical(q[a])))
        t_m = sum(q) / len(q) if mix == "prob" else torch.softmax(sum(z) / len(z) / T, dim=1)
        leader = torch.softmax(step.student.logits[image].flatten(1).T.double() / T, dim=1)
        dis2.append(T**2 * kl_divergence(Categorical(t_m), Categorical(leader)))
    assert max(spread) > 0.4  # far from uniform over three peers
    torch.testing.assert_close(terms["dis1"].double(), torch.cat(dis1).mean() * len(peers), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(terms["dis2"].double(), torch.cat(dis2).mean(), rtol=1e-4, atol=1e-5)


def test_where_it_does_not_hold_there_is_a_reason():
    assert "embedding" in OKDDIP.method.exclusion("speech")
    for track in ("segmentation", "detection", "text", "speech"):
        assert not BRANCHES.method.covers(track)
        assert "cut" in BRANCHES.method.exclusion(track)
