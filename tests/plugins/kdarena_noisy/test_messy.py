"""Messy collaboration: how many labels are wrong, which, and who hears them."""

import math

import pytest
import torch
from kdarena_noisy import variants
from scipy import stats
from torch.distributions import Categorical, kl_divergence

from kdarena import TeacherSpec
from kdarena.params import ImpossibleValue
from kdarena.testing.run import make_run, new_step
from kdarena.testing.task import toy_task

_, _, MESSY_TEACHER, MESSY_STUDENT, MESSY = variants
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def soft(logits, temperature=1.0):
    return Categorical(probs=torch.softmax(logits.double() / temperature, dim=1))


def cross_entropy(logits, targets):
    return -Categorical(logits=logits.double()).log_prob(targets).mean()


def labels_heard(plugin, params, count, monkeypatch):
    """True labels and those of the cross-entropy over ``count`` steps."""
    run = make_run(plugin, toy_task(classes=4, batch_size=72), params)
    heard, true = [], []
    loss = run.task.loss
    monkeypatch.setattr(run.task, "loss", lambda outputs, targets: heard.append(targets.clone()) or loss(outputs, targets))
    for _ in range(count):
        step = new_step(run)
        true.append(step.targets.clone())
        step.run.loss(step)
    return torch.cat(true), torch.cat(heard)


@pytest.mark.parametrize("redraw", [False, True])
@pytest.mark.parametrize("plugin", [MESSY_STUDENT, MESSY], ids=["student", "both"])
def test_as_many_of_the_students_labels_are_wrong_as_p_says(plugin, redraw, monkeypatch):
    true, heard = labels_heard(plugin, {"p": 0.3, "redraw_true": redraw}, 100, monkeypatch)
    share = 0.3 * (3 / 4 if redraw else 1)
    assert abs(int((true != heard).sum()) - len(true) * share) < 5 * math.sqrt(len(true) * share * (1 - share))


def test_a_wrong_label_is_each_of_the_other_classes_alike(monkeypatch):
    true, heard = labels_heard(MESSY_STUDENT, {"p": 0.5}, 100, monkeypatch)
    shifts = torch.bincount((heard - true) % 4, minlength=4)
    assert stats.chisquare(shifts[1:].numpy()).pvalue > 1e-3


def test_wrong_labels_fall_anywhere_in_a_batch_and_anew_at_every_step(monkeypatch):
    true, heard = labels_heard(MESSY_STUDENT, {"p": 0.3}, 100, monkeypatch)
    wrong = (true != heard).view(100, 72)
    assert stats.chisquare(wrong.sum(0).numpy()).pvalue > 1e-3
    assert len({tuple(row.tolist()) for row in wrong}) == 100


@pytest.mark.parametrize("plugin", [MESSY_STUDENT, MESSY], ids=["student", "both"])
def test_wrong_labels_are_drawn_from_the_runs_own_generator_alone(plugin):
    run = make_run(plugin, toy_task(), {"p": 0.5})
    step = new_step(run)
    everyones, own = torch.random.get_rng_state(), run.generator.get_state()
    first = step.run.loss(step)["ce"]
    assert torch.equal(everyones, torch.random.get_rng_state())
    assert not torch.equal(own, run.generator.get_state())
    run.generator.set_state(own)
    torch.manual_seed(7)
    assert torch.equal(step.run.loss(step)["ce"], first)


def test_true_labels_stay_as_they_are():
    run = make_run(MESSY_STUDENT, toy_task(), {"p": 0.8})
    before = run.targets.clone()
    step = new_step(run)
    targets = step.targets.clone()
    step.run.loss(step)
    assert torch.equal(step.targets, targets)
    assert torch.equal(run.targets, before)


def test_the_students_cross_entropy_is_that_of_the_wrong_labels_and_the_soft_term_knows_none(monkeypatch):
    run = make_run(MESSY_STUDENT, toy_task(), {"p": 1.0, "a": 0.6})
    step = new_step(run)
    heard = []
    loss = run.task.loss
    monkeypatch.setattr(run.task, "loss", lambda outputs, targets: heard.append(targets) or loss(outputs, targets))
    terms = step.run.loss(step)
    assert not bool((heard[0] == step.targets).any())
    torch.testing.assert_close(terms["ce"].double(), 0.4 * cross_entropy(step.student.logits, heard[0]), **CLOSE)
    torch.testing.assert_close(terms["kl"].double(), 0.6 * 16 * kl_divergence(soft(step.teacher.logits, 4), soft(step.student.logits, 4)).mean(), **CLOSE)


def test_the_student_of_a_messy_teacher_hears_true_labels(monkeypatch):
    true, heard = labels_heard(MESSY_TEACHER, {"p": 0.8}, 3, monkeypatch)
    assert torch.equal(true, heard)


def test_teachers_are_declared_with_the_labels_they_learn_from():
    card = toy_task(classes=4).card
    for plugin, corruption in ((MESSY_TEACHER, 0.4), (MESSY, 0.4), (MESSY_STUDENT, 0.0)):
        assert list(plugin.method.teachers(card, plugin.method.Params(p=0.4))) == [TeacherSpec(corruption=corruption)]


def test_a_teacher_whose_true_class_may_be_redrawn_has_fewer_wrong_labels():
    card = toy_task(classes=4).card
    (spec,) = MESSY_TEACHER.method.teachers(card, MESSY_TEACHER.method.Params(p=0.4, redraw_true=True))
    assert spec.corruption == pytest.approx(0.3)


@pytest.mark.parametrize("plugin", [MESSY_TEACHER, MESSY_STUDENT, MESSY], ids=lambda plugin: plugin.method.name)
@pytest.mark.parametrize("p", [-0.1, 1.1])
def test_a_rate_that_is_no_probability_is_refused(plugin, p):
    with pytest.raises(ImpossibleValue, match="^p: "):
        plugin.method.Params(p=p)
