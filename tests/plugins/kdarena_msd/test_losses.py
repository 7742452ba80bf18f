"""The losses of MSD against torch.distributions, naive loops and closed forms."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kdarena_msd.method import loss_2, loss_3
from torch.distributions import Categorical, kl_divergence

CLOSE = {"rtol": 1e-9, "atol": 1e-12}


def logits(exits=4, rows=5, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [2 * torch.randn(rows, classes, generator=generator, dtype=torch.double) for _ in range(exits)]


def features(exits=4, rows=5, width=6, seed=1):
    return logits(exits, rows, width, seed)


def pairwise(a, tau, kept=None):
    """The printed double sum."""
    total = 0.0
    for i, student in enumerate(a):
        for j, teacher in enumerate(a):
            if j != i:
                rows = kl_divergence(Categorical(logits=teacher / tau), Categorical(logits=student / tau))
                total = total + (rows if kept is None else rows[kept]).mean()
    return total / (len(a) - 1)


class TestDistillation:
    @pytest.mark.parametrize("detach", [True, False])
    @pytest.mark.parametrize(("exits", "tau"), [(2, 1.0), (3, 3.0), (7, 4.0)])
    def test_it_is_the_double_sum_of_divergences_over_exits_less_one(self, exits, tau, detach):
        a = logits(exits)
        torch.testing.assert_close(loss_2(a, tau, detach), pairwise(a, tau), **CLOSE)

    def test_between_two_exits_it_is_jeffreys_divergence(self):
        a = logits(2)
        p, q = (torch.softmax(one / 3, dim=1) for one in a)
        torch.testing.assert_close(loss_2(a, 3.0, detach=False), ((p - q) * (p / q).log()).sum(dim=1).mean(), **CLOSE)

    def test_detached_an_exit_is_drawn_to_the_mean_of_all_others(self):
        a, tau = [one.requires_grad_() for one in logits(4)], 3.0
        gradients = torch.autograd.grad(loss_2(a, tau, detach=True), a)
        q = [torch.softmax(one.detach() / tau, dim=1) for one in a]
        for i, gradient in enumerate(gradients):
            others = sum(q[j] for j in range(4) if j != i) / 3
            torch.testing.assert_close(gradient, (q[i] - others) / (tau * 5), **CLOSE)

    def test_undetached_its_gradient_is_that_of_the_double_sum(self):
        a = [one.requires_grad_() for one in logits(3)]
        for ours, naive in zip(torch.autograd.grad(loss_2(a, 2.0, detach=False), a), torch.autograd.grad(pairwise(a, 2.0), a), strict=True):
            torch.testing.assert_close(ours, naive, **CLOSE)

    @settings(max_examples=30, deadline=None)
    @given(st.permutations(range(4)), st.integers(0, 1000))
    def test_the_order_of_exits_does_not_matter_and_it_is_never_negative(self, order, seed):
        a = logits(4, seed=seed)
        value = loss_2(a, 3.0, detach=True)
        torch.testing.assert_close(loss_2([a[n] for n in order], 3.0, detach=True), value, **CLOSE)
        assert value >= 0

    def test_equal_exits_have_nothing_to_tell_each_other(self):
        a = [logits(1)[0].requires_grad_() for _ in range(3)]
        value = loss_2(a, 3.0, detach=True)
        assert float(value.detach()) == pytest.approx(0, abs=1e-12)
        assert all(float(one.abs().max()) < 1e-12 for one in torch.autograd.grad(value, a))

    @settings(max_examples=20, deadline=None)
    @given(st.floats(-50, 50))
    def test_a_constant_added_to_one_exits_logits_changes_nothing(self, constant):
        a = logits(3)
        torch.testing.assert_close(loss_2([a[0] + constant, *a[1:]], 3.0, detach=True), loss_2(a, 3.0, detach=True), **CLOSE)

    def test_rows_that_do_not_count_are_left_out_of_the_mean(self):
        a, mask = logits(3), torch.tensor([True, False, True, True, False])
        torch.testing.assert_close(loss_2(a, 2.0, detach=True, mask=mask), pairwise(a, 2.0, mask), **CLOSE)

    def test_it_stays_finite_where_probabilities_underflow(self):
        a = [torch.tensor([[300.0, 0.0]]), torch.tensor([[0.0, 300.0]])]
        assert float(loss_2(a, 1.0, detach=True)) == pytest.approx(600)


class TestFeatures:
    def naive(self, f):
        return sum((a - b) ** 2 for one in f[:-1] for row, last in zip(one.tolist(), f[-1].tolist(), strict=True) for a, b in zip(row, last, strict=True))

    @pytest.mark.parametrize("detach", [True, False])
    @pytest.mark.parametrize(("reduction", "entries"), [("sum", 1), ("batch-mean", 5), ("mean", 5 * 6)])
    def test_it_sums_squares_over_exits_and_reduces_over_the_batch_as_named(self, reduction, entries, detach):
        f = features()
        assert float(loss_3(f, detach, reduction)) == pytest.approx(self.naive(f) / entries)

    def test_the_default_weight_is_that_of_the_codes_sum_over_a_batch_of_128(self):
        f = features(rows=128)
        torch.testing.assert_close(1.28e-4 * loss_3(f, True, "batch-mean"), 1e-6 * loss_3(f, True, "sum"), **CLOSE)

    def test_detached_the_deepest_features_get_no_gradient(self):
        f = [one.requires_grad_() for one in features()]
        *shallow, deepest = torch.autograd.grad(loss_3(f, True, "batch-mean"), f, allow_unused=True)
        assert deepest is None
        for one, gradient in zip(f, shallow, strict=False):
            torch.testing.assert_close(gradient, 2 * (one - f[-1]).detach() / 5, **CLOSE)

    def test_undetached_they_are_drawn_to_all_others(self):
        f = [one.requires_grad_() for one in features()]
        gradient = torch.autograd.grad(loss_3(f, False, "sum"), f[-1])[0]
        torch.testing.assert_close(gradient, 2 * (3 * f[-1] - f[0] - f[1] - f[2]).detach(), **CLOSE)

    def test_equal_features_cost_nothing(self):
        assert float(loss_3(features(1) * 3, True, "sum")) == 0

    def test_it_does_matter_which_exit_is_the_deepest(self):
        f = features()
        torch.testing.assert_close(loss_3([f[1], f[0], f[2], f[3]], True, "sum"), loss_3(f, True, "sum"), **CLOSE)
        assert abs(float(loss_3([f[3], f[1], f[2], f[0]], True, "sum") - loss_3(f, True, "sum"))) > 0.1
