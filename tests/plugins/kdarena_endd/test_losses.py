"""The losses of EnD and EnD² against torch.distributions and the printed gradients."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kdarena_endd import end
from kdarena_endd.endd import mean_log_probability, negative_log_likelihood
from torch.distributions import Categorical, Dirichlet, kl_divergence

from kdarena import losses

CLOSE = {"rtol": 1e-5, "atol": 1e-6}
EXACT = {"rtol": 1e-9, "atol": 1e-9}


def drawn(seed=0, samples=3, members=4, classes=5, scale=2.0):
    """The members' logits [B, M, N] and the student's [B, N], in float64."""
    generator = torch.Generator().manual_seed(seed)
    return (
        scale * torch.randn(samples, members, classes, generator=generator, dtype=torch.double),
        scale * torch.randn(samples, classes, generator=generator, dtype=torch.double),
    )


def smoothed(z_m, epsilon, temperature=1.0):
    """Members' probabilities of which a share epsilon is put uniformly on all classes: another reading of the same mixture."""
    probabilities = Categorical(logits=z_m / temperature).probs
    return (1 - epsilon) * probabilities + epsilon * torch.full_like(probabilities, 1 / z_m.shape[2])


def likelihood(z, z_m, temperature=1.0, epsilon=1e-3, tiny=0.0):
    """T² · nll, mean over samples, as the method composes it."""
    g = mean_log_probability(z_m, temperature, epsilon, tiny)
    return temperature**2 * negative_log_likelihood((z / temperature).exp(), g, tiny).mean()


def divergence(z_m, z, temperature, reduction):
    """EnD's loss as the method composes it."""
    return end.divergence(losses.log_mean_probability((z_m / temperature).unbind(1), dim=1), z, temperature, reduction)


def gradient(term, logits):
    return torch.autograd.grad(term, logits)[0]


class TestLikelihood:
    @pytest.mark.parametrize("temperature", [1.0, 2.5, 10.0])
    def test_it_is_the_mean_negative_log_density_of_the_smoothed_members_times_t_squared(self, temperature):
        z_m, z = drawn()
        dirichlet = Dirichlet((z / temperature).exp().unsqueeze(1))
        expected = -(temperature**2) * dirichlet.log_prob(smoothed(z_m, 1e-3, temperature)).mean()
        torch.testing.assert_close(likelihood(z, z_m, temperature), expected, **EXACT)

    def test_what_is_added_for_stability_hardly_matters(self):
        z_m, z = drawn()
        torch.testing.assert_close(likelihood(z, z_m, tiny=1e-8), likelihood(z, z_m), rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("temperature", [1.0, 4.0])
    def test_its_gradient_is_the_printed_one(self, temperature):
        z_m, z = drawn()
        z.requires_grad_()
        found = gradient(likelihood(z, z_m, temperature), z)
        alpha = torch.exp(z.detach() / temperature)
        log_mean = smoothed(z_m, 1e-3, temperature).log().mean(dim=1)
        printed = alpha / temperature * (torch.digamma(alpha) - torch.digamma(alpha.sum(dim=1, keepdim=True)) - log_mean)
        torch.testing.assert_close(found, temperature**2 * printed / len(z), **EXACT)

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 10_000))
    def test_the_order_of_members_and_of_classes_changes_nothing(self, seed):
        z_m, z = drawn(seed)
        generator = torch.Generator().manual_seed(seed + 1)
        members, classes = torch.randperm(4, generator=generator), torch.randperm(5, generator=generator)
        expected = likelihood(z, z_m)
        torch.testing.assert_close(likelihood(z, z_m[:, members]), expected, **EXACT)
        torch.testing.assert_close(likelihood(z[:, classes], z_m[:, :, classes]), expected, **EXACT)

    def test_the_whole_ensemble_twice_changes_nothing(self):
        z_m, z = drawn()
        torch.testing.assert_close(likelihood(z, torch.cat([z_m, z_m], dim=1)), likelihood(z, z_m), **EXACT)

    def test_the_targets_mean_is_geometric_not_arithmetic(self):
        z_m, _ = drawn()
        g = mean_log_probability(z_m, 1.0, 1e-3, tiny=0.0)
        product = smoothed(z_m, 1e-3).prod(dim=1)
        torch.testing.assert_close(g.exp(), product ** (1 / 4), **EXACT)
        assert bool((g < smoothed(z_m, 1e-3).mean(dim=1).log()).all())

    def test_it_is_negative_where_a_sharp_distribution_fits(self):
        z_m, _ = drawn(members=2, scale=0.01)
        assert float(likelihood(torch.full((3, 5), 6.0, dtype=torch.double), z_m)) < 0

    def test_identical_members_are_ever_more_likely_under_a_sharper_distribution(self):
        z_m = drawn()[0][:, :1].expand(-1, 4, -1)
        log_mean = smoothed(z_m, 1e-3)[:, 0].log()
        values = [float(likelihood(log_mean + math.log(precision), z_m)) for precision in (1e1, 1e2, 1e3, 1e4, 1e5)]
        assert all(later < earlier - 1 for earlier, later in pairwise(values))

    @settings(max_examples=30, deadline=None)
    @given(st.floats(1e-5, 1e-2), st.integers(2, 200))
    def test_smoothed_members_are_distributions_with_a_least_entry(self, epsilon, classes):
        z_m = torch.zeros(1, 1, classes, dtype=torch.double)
        z_m[0, 0, 0] = 1e4
        probabilities = mean_log_probability(z_m, 1.0, epsilon, tiny=0.0).exp()
        assert float(probabilities.sum()) == pytest.approx(1)
        assert float(probabilities.min()) == pytest.approx(epsilon / classes, rel=1e-6)

    def test_members_that_underflow_and_extreme_students_have_finite_losses_and_gradients_in_fp32(self):
        z_m = 1e4 * torch.eye(5).expand(3, 5, 5)
        for scale in (0.0, 60.0, -200.0):
            z = torch.full((3, 5), scale, requires_grad=True)
            loss = likelihood(z, z_m, tiny=1e-8)
            assert math.isfinite(float(loss.detach()))
            assert bool(gradient(loss, z).isfinite().all())

    def test_fp32_is_as_good_as_float64(self):
        z_m, z = drawn()
        torch.testing.assert_close(likelihood(z.float(), z_m.float(), tiny=1e-8).double(), likelihood(z, z_m, tiny=1e-8), rtol=1e-4, atol=1e-4)

    def test_descending_it_recovers_the_distribution_that_members_were_drawn_from(self):
        torch.manual_seed(0)
        alpha = torch.tensor([4.0, 2.0, 1.5, 0.8], dtype=torch.double)
        z_m = Dirichlet(alpha).sample((20_000,)).log().unsqueeze(0)
        z = torch.zeros(1, 4, dtype=torch.double, requires_grad=True)
        optimizer = torch.optim.LBFGS([z], max_iter=100, line_search_fn="strong_wolfe")

        def closure():
            optimizer.zero_grad()
            loss = likelihood(z, z_m, epsilon=1e-6)
            loss.backward()
            return loss

        optimizer.step(closure)
        torch.testing.assert_close(z.detach().exp()[0], alpha, rtol=0.05, atol=0)


class TestMean:
    @pytest.mark.parametrize("temperature", [1.0, 2.5, 10.0])
    def test_it_is_the_positive_divergence_from_the_mean_of_probabilities_times_t_squared(self, temperature):
        z_m, z = (one.float() for one in drawn())
        mean = Categorical(probs=Categorical(logits=z_m.double() / temperature).probs.mean(dim=1))
        expected = temperature**2 * kl_divergence(mean, Categorical(logits=z.double() / temperature)).mean()
        found = divergence(z_m, z, temperature, "sum")
        torch.testing.assert_close(found.double(), expected, **CLOSE)
        assert float(found) > 0
        torch.testing.assert_close(divergence(z_m, z, temperature, "mean").double(), expected / 5, **CLOSE)

    def test_it_is_least_with_no_gradient_where_the_student_says_the_mean(self):
        z_m, _ = (one.float() for one in drawn())
        z = (2.5 * torch.softmax(z_m / 2.5, dim=2).mean(dim=1).log()).requires_grad_()
        loss = divergence(z_m, z, 2.5, "sum")
        assert abs(float(loss.detach())) < 1e-6
        assert float(gradient(loss, z).abs().max()) < 1e-6

    def test_its_gradient_is_t_times_the_difference_to_the_mean(self):
        z_m, z = (one.float() for one in drawn())
        z.requires_grad_()
        expected = 4 * (torch.softmax(z / 4, 1) - torch.softmax(z_m / 4, 2).mean(dim=1)) / len(z)
        torch.testing.assert_close(gradient(divergence(z_m, z, 4.0, "sum"), z), expected, **CLOSE)

    def test_it_has_the_gradient_of_the_cross_entropy_over_all_entries_in_the_mean_form(self):
        z_m, z = (one.float() for one in drawn())
        z.requires_grad_()
        cross_entropy = (-torch.softmax(z_m / 3, 2).mean(dim=1) * torch.log_softmax(z / 3, 1) * 9).mean()
        torch.testing.assert_close(gradient(divergence(z_m, z, 3.0, "mean"), z), gradient(cross_entropy, z), **CLOSE)

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 10_000))
    def test_the_order_of_members_and_of_classes_and_the_ensemble_twice_change_nothing(self, seed):
        z_m, z = (one.float() for one in drawn(seed))
        expected = divergence(z_m, z, 2.0, "sum")
        generator = torch.Generator().manual_seed(seed + 1)
        members, classes = torch.randperm(4, generator=generator), torch.randperm(5, generator=generator)
        for other in (
            divergence(z_m[:, members], z, 2.0, "sum"),
            divergence(z_m[:, :, classes], z[:, classes], 2.0, "sum"),
            divergence(torch.cat([z_m, z_m], dim=1), z, 2.0, "sum"),
        ):
            torch.testing.assert_close(other, expected, **CLOSE)
