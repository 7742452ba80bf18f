"""Soft randomization: what its noise is, who sees it, and both directions of the divergence."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kdarena_noisy import soft_randomization as SOFT
from kdarena_noisy.soft_randomization import noise
from scipy import stats
from torch import nn
from torch.distributions import Categorical, kl_divergence

from kdarena import losses
from kdarena.params import ImpossibleValue
from kdarena.testing.run import make_run, new_step, toy_teacher
from kdarena.testing.task import toy_task

CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def soft(logits, temperature=1.0):
    return Categorical(probs=torch.softmax(logits.double() / temperature, dim=1))


def cross_entropy(logits, targets):
    return -Categorical(logits=logits.double()).log_prob(targets).mean()


def gradient(term, logits):
    return torch.autograd.grad(term, logits, retain_graph=True)[0]


class Recording(nn.Module):
    """A network that keeps what it was shown."""

    def __init__(self, network):
        super().__init__()
        self.network, self.seen = network, []

    def forward(self, x):
        self.seen.append(x.detach().clone())
        return self.network(x)


def recorded(params=None, **task):
    """A run of soft randomization whose student and teacher keep what they see."""
    task = toy_task(**task)
    run = make_run(SOFT, task, params, teachers=[Recording(toy_teacher(task))])
    run.learner.student = Recording(run.learner.student)
    return run


def deltas(run, count):
    """The noise of ``count`` steps in units of inputs, [count, B, C, H, W]."""
    found = []
    for _ in range(count):
        step = new_step(run)
        step.run.loss(step)
        found.append(run.learner.student.seen[-1] - step.inputs)
    return torch.stack(found)


def test_the_noise_has_the_standard_deviation_sigma_in_units_of_pixels():
    run = recorded({"sigma": 0.2}, batch_size=72)
    delta = deltas(run, 20) * 0.5  # the toy's pixels were divided by 0.5
    assert delta.numel() > 9e4
    assert float(delta.std()) == pytest.approx(0.2, rel=0.01)
    assert abs(float(delta.mean())) < 4 * 0.2 / math.sqrt(delta.numel())


def test_the_noise_is_gaussian():
    delta = deltas(recorded({"sigma": 0.2}), 10).flatten() * 0.5 / 0.2
    assert stats.kstest(delta.numpy(), "norm").pvalue > 1e-3


def test_each_channel_has_its_own_unit_of_pixels():
    spread = torch.tensor([0.25, 0.5, 1.0]).view(3, 1, 1)
    drawn = noise(torch.zeros(400, 3, 16, 16), 0.1, spread, torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.std(dim=(0, 2, 3)), torch.tensor([0.4, 0.2, 0.1]), rtol=0.01, atol=0)


def test_the_noise_is_independent_among_samples_pixels_and_steps():
    delta = deltas(recorded({"sigma": 0.2}), 40).flatten(2)
    bound = 5 / math.sqrt(delta.numel())
    normal = delta / delta.std()
    for axis in range(3):
        assert abs(float((normal * normal.roll(1, dims=axis)).mean())) < bound


def test_the_noise_is_added_and_does_not_scale_with_the_input():
    run = recorded({"sigma": 0.2})
    batch = next(run.augmented)
    for scale in (0.0, 100.0):
        scaled = type(batch)(scale * torch.ones_like(batch.inputs), batch.targets, batch.index)
        step = new_step(run, batch=scaled)
        step.run.loss(step)
        assert float((run.learner.student.seen[-1] - step.inputs).std()) == pytest.approx(0.4, rel=0.1)


def test_the_teacher_sees_the_clean_view_and_the_student_the_noisy_one_only():
    run = recorded({"sigma": 0.2})
    step = new_step(run)
    inputs = step.inputs.clone()
    step.run.loss(step)
    (seen,), (noisy,) = run.teacher.seen[-1:], run.learner.student.seen
    assert torch.equal(seen, inputs)
    assert torch.equal(step.inputs, inputs)
    assert not torch.equal(noisy, inputs)


@pytest.mark.parametrize("direction", ["teacher-first", "student-first"])
def test_both_terms_are_those_of_the_students_logits_on_the_noisy_input(direction):
    run = recorded({"sigma": 0.3, "a": 0.7, "tau": 3.0, "kl_direction": direction})
    step = new_step(run)
    terms = step.run.loss(step)
    z_s = run.task.forward(run.learner.student.network, run.learner.student.seen[-1]).logits
    pair = (soft(step.teacher.logits, 3), soft(z_s, 3))
    divergence = kl_divergence(*(pair if direction == "teacher-first" else pair[::-1])).mean()
    torch.testing.assert_close(terms["kl"].double(), 0.7 * 9 * divergence, **CLOSE)
    torch.testing.assert_close(terms["ce"].double(), 0.3 * cross_entropy(z_s, step.targets), **CLOSE)


@settings(max_examples=25, deadline=None)
@given(st.floats(1.0, 20.0), st.integers(0, 1000))
def test_the_gradient_of_each_direction_is_the_printed_one(tau, seed):
    generator = torch.Generator().manual_seed(seed)
    batch, answer = 5, torch.randn(5, 4, generator=generator)

    class Fixed(nn.Module):
        def __init__(self, logits):
            super().__init__()
            self.logits = nn.Parameter(logits)

        def forward(self, x):
            return self.logits + 0 * x.mean()

    for direction in ("teacher-first", "student-first"):
        task = toy_task(batch_size=batch)
        run = make_run(SOFT, task, {"tau": tau, "a": 1.0, "kl_direction": direction}, teachers=[Fixed(answer)])
        run.learner.student = Fixed(torch.randn(5, 4, generator=generator))
        z_s = run.learner.student.logits
        found = gradient(run.loss(new_step(run))["kl"], z_s)
        s, t = torch.softmax(z_s.detach() / tau, 1), torch.softmax(answer / tau, 1)
        ratio = (s / t).log()
        printed = s - t if direction == "teacher-first" else s * (ratio - (s * ratio).sum(1, keepdim=True))
        torch.testing.assert_close(found, tau**2 * printed / tau / batch, rtol=1e-3, atol=2e-5)


def test_both_directions_ignore_a_shift_of_all_logits():
    z_s, z_t = torch.randn(2, 6, 5)
    for one, other in ((z_s, z_t), (z_t, z_s)):
        torch.testing.assert_close(losses.kl(one + 7, other - 3, 4.0), losses.kl(one, other, 4.0), **CLOSE)


def test_noise_is_drawn_from_the_methods_own_generator_alone():
    run = recorded({"sigma": 0.2})
    step = new_step(run)
    before = torch.random.get_rng_state()
    step.run.loss(step)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_task_without_images_is_refused():
    assert "it needs images" in SOFT.method.reason_against(toy_task(pixels=False).card, SOFT.method.Params())
    assert SOFT.method.reason_against(toy_task().card, SOFT.method.Params()) is None


def test_a_negative_sigma_is_refused():
    with pytest.raises(ImpossibleValue, match="sigma"):
        SOFT.method.Params(sigma=-0.1)
