"""The holistic loss and its gradient penalty against closed forms."""

import pytest
import torch
from kdarena_structured.critic import Critic
from kdarena_structured.holistic import gradient_penalty, hinge, l_ho, scaled, seen_scores, whole


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def linear(length):
    v = drawn(1, 2, 3, 4)
    v = length * v / v.norm()
    return lambda x: (v * x).sum(dim=(1, 2, 3))


Q_S, Q_T, U = drawn(5, 2, 3, 4, seed=1), drawn(5, 2, 3, 4, seed=2), torch.rand(5, generator=torch.Generator().manual_seed(3))


class TestGradientPenalty:
    @pytest.mark.parametrize(("length", "penalty"), [(1.0, 0.0), (3.0, 4.0), (0.25, 0.5625)])
    def test_of_a_linear_critic_it_is_the_slopes_distance_from_one_squared(self, length, penalty):
        assert gradient_penalty(linear(length), Q_S, Q_T, U).item() == pytest.approx(penalty, abs=1e-6)

    def test_it_is_taken_between_teacher_and_student_where_u_says(self):
        # ∇ of ½‖x‖² is x, so that the penalty shows where it was taken
        def half_square(x):
            return x.square().sum(dim=(1, 2, 3)) / 2

        for u, taken in ((torch.ones(5), Q_T), (torch.zeros(5), Q_S), (U, U.view(5, 1, 1, 1) * Q_T + (1 - U).view(5, 1, 1, 1) * Q_S)):
            expected = (taken.flatten(1).norm(dim=1) - 1).square().mean()
            assert gradient_penalty(half_square, Q_S, Q_T, u).item() == pytest.approx(float(expected), rel=1e-5)

    def test_it_trains_the_critic_by_second_derivatives(self):
        slope = torch.tensor(3.0, requires_grad=True)
        critic = linear(1.0)
        (gradient,) = torch.autograd.grad(gradient_penalty(lambda x: slope * critic(x), Q_S, Q_T, U), slope)
        assert gradient.item() == pytest.approx(2 * (3 - 1), rel=1e-5)

    def test_it_moves_neither_network(self):
        q_s, q_t = Q_S.clone().requires_grad_(), Q_T.clone().requires_grad_()
        slope = torch.tensor(3.0, requires_grad=True)
        found = torch.autograd.grad(gradient_penalty(lambda x: slope * x.square().sum(dim=(1, 2, 3)), q_s, q_t, U), [q_s, q_t], allow_unused=True)
        assert found == (None, None)

    def test_a_flat_critic_pays_one_with_finite_gradients(self):
        slope = torch.tensor(0.0, requires_grad=True)
        critic = linear(1.0)
        penalty = gradient_penalty(lambda x: slope * critic(x), Q_S, Q_T, U)
        assert penalty.item() == 1
        assert bool(torch.autograd.grad(penalty, slope)[0].isfinite())

    def test_it_reaches_every_weight_of_the_critic_but_additive_ones_behind_the_last_bend(self):
        critic = Critic(2, (8, 8), 8)
        for layer in critic.modules():
            if hasattr(layer, "gamma"):
                layer.gamma.data.fill_(0.5)
        penalty = gradient_penalty(critic, drawn(3, 2, 8, 8), drawn(3, 2, 8, 8, seed=1), torch.full((3,), 0.5))
        reached = {name for name, one in critic.named_parameters() if _gradient(penalty, one) > 0}
        weights = {name for name, one in critic.named_parameters() if one.dim() > 1}
        assert weights <= reached


def _gradient(term, parameter):
    (found,) = torch.autograd.grad(term, parameter, allow_unused=True, retain_graph=True)
    return 0.0 if found is None else float(found.abs().max())


class TestAdversary:
    def test_it_is_the_difference_of_the_means(self):
        assert l_ho(torch.tensor([1.0, 2.0, 6.0]), torch.tensor([4.0, 0.0, 0.5])).item() == pytest.approx(3.0 - 1.5)

    def test_student_and_teacher_in_each_others_place_flip_its_sign(self):
        d_s, d_t = drawn(6, seed=1), drawn(6, seed=2)
        assert l_ho(d_t, d_s).item() == pytest.approx(-l_ho(d_s, d_t).item())

    def test_the_hinge_is_open_inside_the_margin_only(self):
        assert hinge(torch.tensor([-1.5]), torch.tensor([1.5])).item() == 0
        assert hinge(torch.tensor([0.25]), torch.tensor([-0.5])).item() == pytest.approx(1.25 + 1.5)
        d_s, d_t = torch.zeros(2, requires_grad=True), torch.zeros(2, requires_grad=True)
        down_s, down_t = torch.autograd.grad(hinge(d_s, d_t), [d_s, d_t])
        assert torch.equal(down_s, torch.full((2,), 0.5))
        assert torch.equal(down_t, torch.full((2,), -0.5))


class TestWhatTheCriticSees:
    def test_scores_are_as_they_are_or_distributions(self):
        assert seen_scores(Q_S, "logits") is Q_S
        assert torch.allclose(seen_scores(Q_S, "softmax").sum(dim=1), torch.ones(5, 3, 4))

    def test_the_image_is_scaled_corner_on_corner(self):
        image = drawn(2, 3, 16, 24)
        small = scaled(image, (4, 6))
        for y, x in ((0, 0), (-1, 0), (0, -1), (-1, -1)):
            assert torch.allclose(small[:, :, y, x], image[:, :, y, x], atol=1e-5)
        assert torch.equal(scaled(image, (16, 24)), image)


class TestWholeScores:
    def test_one_map_is_what_the_critic_sees(self):
        assert whole([Q_S]) is Q_S

    def test_maps_of_a_pyramid_are_scaled_to_the_finest_and_lie_one_behind_the_other(self):
        fine, coarse = drawn(2, 3, 6, 8), drawn(2, 3, 3, 4, seed=1)
        q = whole([fine, coarse])
        assert q.shape == (2, 6, 6, 8)
        assert torch.equal(q[:, :3], fine)
        assert torch.equal(q[:, 3:], coarse.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))

    def test_its_gradient_reaches_every_level(self):
        levels = [drawn(1, 2, side, side).requires_grad_() for side in (6, 3, 2)]
        whole(levels).square().sum().backward()
        assert all(level.grad is not None and level.grad.abs().min() > 0 for level in levels)
