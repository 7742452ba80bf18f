"""What all noisy methods share, against torch's distributions: without noise each is plain distillation."""

import copy
import math

import pytest
import torch
from kdarena_kd import variants as kd_variants
from kdarena_noisy import variants
from torch.distributions import Categorical, kl_divergence
from torch.nn import functional

from kdarena.params import ImpossibleValue
from kdarena.testing.run import make_run, new_step, take_steps
from kdarena.testing.task import toy_task
from kdarena.tracks import find_card
from kdarena.tracks.values import Setting

KD, *_ = kd_variants
FICKLE, SOFT, MESSY_TEACHER, MESSY_STUDENT, MESSY = variants
CLOSE = {"rtol": 1e-5, "atol": 1e-6}
SILENT = {FICKLE: {"dropout": 0.0}, SOFT: {"sigma": 0.0}, MESSY_TEACHER: {"p": 0.0}, MESSY_STUDENT: {"p": 0.0}, MESSY: {"p": 0.0}}
EACH = pytest.mark.parametrize("plugin", variants, ids=lambda plugin: plugin.method.name)


def soft(logits, temperature=1.0):
    return Categorical(probs=torch.softmax(logits.double() / temperature, dim=1))


def cross_entropy(logits, targets):
    return -Categorical(logits=logits.double()).log_prob(targets).mean()


def gradient(term, logits):
    return torch.autograd.grad(term, logits, retain_graph=True)[0]


def state(module):
    return copy.deepcopy(module.state_dict())


def same(before, module):
    return all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


@EACH
def test_without_noise_it_is_plain_distillation(plugin):
    run = make_run(plugin, toy_task(), {**SILENT[plugin], "a": 0.8, "tau": 3.0})
    plain = make_run(KD, toy_task(), {"a": 0.8, "temperature": 3.0})
    for _ in range(3):
        assert take_steps(run, 2) == take_steps(plain, 2)
    assert same(plain.learner.student.state_dict(), run.learner.student)


@EACH
def test_the_soft_term_is_the_divergence_times_a_and_tau_squared(plugin):
    step = new_step(make_run(plugin, toy_task(), {**SILENT[plugin], "a": 0.7, "tau": 3.0}))
    expected = 0.7 * 9 * kl_divergence(soft(step.teacher.logits, 3), soft(step.student.logits, 3)).mean()
    torch.testing.assert_close(step.run.loss(step)["kl"].double(), expected, **CLOSE)


@EACH
def test_the_label_term_is_cross_entropy_with_the_rest_of_the_weight(plugin):
    step = new_step(make_run(plugin, toy_task(), {**SILENT[plugin], "a": 0.7}))
    torch.testing.assert_close(step.run.loss(step)["ce"].double(), 0.3 * cross_entropy(step.student.logits, step.targets), **CLOSE)


@EACH
def test_with_a_zero_it_is_cross_entropy_alone(plugin):
    step = new_step(make_run(plugin, toy_task(), {**SILENT[plugin], "a": 0.0}))
    total = sum(step.run.loss(step).values())
    torch.testing.assert_close(total.double(), cross_entropy(step.student.logits, step.targets), **CLOSE)
    # the bias of the head is where the logits' gradients add up
    expected = (step.student.logits.softmax(1) - functional.one_hot(step.targets, 4)).mean(dim=0).detach()
    torch.testing.assert_close(gradient(total, step.learner.student.head.bias), expected, **CLOSE)


@pytest.mark.parametrize(
    ("plugin", "params"),
    [*((plugin, {}) for plugin in variants), (SOFT, {"kl_direction": "student-first"})],
    ids=lambda value: getattr(value, "method", None) and value.method.name,
)
def test_with_a_one_a_student_equal_to_its_teacher_has_neither_loss_nor_gradient(plugin, params):
    run = make_run(plugin, toy_task(teacher="toy-student"), {**SILENT[plugin], "a": 1.0, **params})
    run.learner.student.load_state_dict(run.teacher.state_dict())
    run.learner.student.eval()
    terms = run.loss(new_step(run))
    assert abs(float(sum(terms.values()).detach())) < 1e-6
    found = torch.autograd.grad(sum(terms.values()), list(run.learner.student.parameters()))
    assert max(float(one.abs().max()) for one in found) < 1e-5


@EACH
def test_both_terms_reach_every_parameter_of_the_student(plugin):
    run = make_run(plugin, toy_task())
    for term in run.loss(new_step(run)).values():
        found = torch.autograd.grad(term, list(run.learner.student.parameters()), retain_graph=True)
        assert all(float(one.abs().max()) > 0 for one in found)


@EACH
def test_noise_follows_the_runs_seed(plugin):
    histories = []
    for seed in (0, 0, 1):
        histories.append(take_steps(make_run(plugin, toy_task(), seed=seed), 3))
    assert histories[0] == histories[1]
    assert histories[0] != histories[2]


@EACH
def test_logits_far_apart_give_a_finite_loss_and_gradient(plugin):
    run = make_run(plugin, toy_task(), {"tau": 1.0})
    for module in (run.teacher, run.learner.student):
        with torch.no_grad():
            module.head.weight.mul_(1e4)
    terms = run.loss(new_step(run))
    found = torch.autograd.grad(sum(terms.values()), list(run.learner.student.parameters()))
    assert all(bool(one.isfinite().all()) for one in (*terms.values(), *found))


@EACH
@pytest.mark.parametrize("wrong", [{"a": -0.1}, {"a": 1.1}, {"tau": 0.0}])
def test_weights_that_make_no_loss_are_refused(plugin, wrong):
    with pytest.raises(ImpossibleValue, match=next(iter(wrong))):
        plugin.method.Params(**wrong)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@EACH
def test_it_learns_digits(plugin, precision):
    digits = find_card("digits")
    run = make_run(plugin, digits.load(digits, Setting(precision=precision)), {"a": 0.5})
    history = take_steps(run, 25)
    totals = [sum(terms.values()) for terms in history]
    assert all(math.isfinite(total) for total in totals)
    assert sum(totals[-5:]) < sum(totals[:5])
    run.check_teachers()
