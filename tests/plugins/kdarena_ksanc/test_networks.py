"""KSANC's attention, squeezer and critic against loops and closed forms."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kdarena_ksanc.networks import AttentionEstimator, Critic, Squeezer
from torch import nn


class TestAttention:
    @given(st.integers(0, 500), st.sampled_from([(4, 4), (2, 3), (8, 8)]))
    def test_it_is_a_distribution_over_positions(self, seed, grid):
        torch.manual_seed(seed)
        attention = AttentionEstimator(5, 7, "sum", "sum").attention(4 * torch.randn(3, 5, *grid))
        assert attention.shape == (3, math.prod(grid))
        assert bool((attention >= 0).all())
        assert torch.allclose(attention.sum(dim=1), torch.ones(3), atol=1e-5)

    def test_a_constant_map_gets_equal_weights_and_its_own_value(self):
        shifted = torch.randn(3, 5, 1, 1).expand(3, 5, 4, 4)
        estimator = AttentionEstimator(5, 7, "map", "sum")
        torch.nn.init.zeros_(estimator.from_global.weight)
        torch.nn.init.zeros_(estimator.from_global.bias)
        assert torch.allclose(estimator.attention(shifted), torch.full((3, 16), 1 / 16))
        assert torch.allclose(estimator(shifted, torch.randn(3, 7)), shifted[:, :, 0, 0], atol=1e-6)
        estimator.pool = "avg"
        assert torch.allclose(estimator(shifted, torch.randn(3, 7)), shifted[:, :, 0, 0] / 16, atol=1e-6)

    def test_the_descriptor_does_not_depend_on_where_things_are(self):
        estimator, feature_map, g = AttentionEstimator(5, 7, "sum", "avg"), torch.randn(3, 5, 4, 4), torch.randn(3, 7)
        order = torch.randperm(16)
        permuted = feature_map.flatten(2)[:, :, order].view(3, 5, 4, 4)
        assert torch.allclose(estimator(feature_map, g), estimator(permuted, g), atol=1e-5)

    @pytest.mark.parametrize("attend", ["sum", "map"])
    @pytest.mark.parametrize("pool", ["sum", "avg"])
    def test_the_descriptor_is_the_printed_one_position_by_position(self, attend, pool):
        estimator, feature_map, g = AttentionEstimator(5, 7, attend, pool), torch.randn(2, 5, 3, 3), torch.randn(2, 7)
        weight, bias, score = estimator.from_global.weight[:, :, 0, 0], estimator.from_global.bias, estimator.score.weight[0, :, 0, 0]
        for b in range(2):
            shift = weight @ g[b] + bias
            scores = {(i, j): torch.exp(score @ (feature_map[b, :, i, j] + shift)) for i in range(3) for j in range(3)}
            total = sum(scores.values())
            expected = sum(s / total * (feature_map[b, :, i, j] + (shift if attend == "sum" else 0)) for (i, j), s in scores.items())
            assert torch.allclose(estimator(feature_map, g)[b], expected / (9 if pool == "avg" else 1), atol=1e-5)

    def test_a_constant_on_all_scores_changes_nothing(self):
        estimator = AttentionEstimator(5, 7, "sum", "sum")
        assert estimator.score.bias is None
        shifted = torch.randn(3, 5, 4, 4)
        direction = estimator.score.weight[0, :, 0, 0].detach()
        lifted = shifted + (3 * direction / direction.square().sum())[None, :, None, None]
        assert torch.allclose(estimator.attention(shifted), estimator.attention(lifted), atol=1e-5)

    def test_descriptors_of_all_levels_stand_side_by_side(self):
        assert Squeezer((6, 8, 10), 16, "sum", "sum", (3, 4, 6))(torch.randn(2, 3, 8, 8), torch.randn(2, 4, 4, 4), torch.randn(2, 6, 4, 4)).shape == (2, 24)

    def test_a_level_is_its_own_estimator_on_its_own_transformed_map_and_the_global_descriptor(self):
        squeezer = Squeezer((6, 6, 6), 16, "sum", "sum", (4, 4, 4))
        maps = [torch.randn(2, 4, side, side) for side in (8, 4, 2)]
        g = (squeezer.to_global.weight[:, :, 0, 0] @ maps[2].flatten(2)).mean(dim=2) + squeezer.to_global.bias
        found = squeezer(*maps).split(6, dim=1)
        for level in range(3):
            transformed = torch.einsum("oc,bchw->bohw", squeezer.transforms[level].weight[:, :, 0, 0], maps[level])
            assert torch.allclose(found[level], squeezer.estimators[level](transformed, g), atol=1e-5)

    def test_each_stage_of_the_student_has_a_channel_transform_and_the_teacher_none(self):
        student, teacher = Squeezer((6, 8), 16, "sum", "sum", (3, 8)), Squeezer((6, 8), 16, "sum", "sum")
        assert [tuple(one.weight.shape) for one in student.transforms] == [(6, 3, 1, 1), (8, 8, 1, 1)]
        assert not list(teacher.transforms.parameters())

    def test_the_global_descriptor_is_the_mean_of_the_transformed_last_stage(self):
        squeezer = Squeezer((6, 8), 16, "sum", "sum", (3, 4))
        seen = []
        squeezer.estimators[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1]))
        first, last = torch.randn(2, 3, 8, 8), torch.randn(2, 4, 4, 4)
        squeezer(first, last)
        expected = torch.stack([sum(squeezer.to_global.weight[:, :, 0, 0] @ last[b, :, i, j] for i in range(4) for j in range(4)) / 16 for b in range(2)])
        assert torch.allclose(seen[0], expected + squeezer.to_global.bias, atol=1e-5)


class TestCritic:
    def test_neither_biases_nor_batch_norm_are_weights(self):
        shapes = [tuple(one.shape) for one in Critic(10, 16).weights()]
        assert shapes == [(16, 10), (16, 16), (11, 16)]

    def test_it_has_one_output_more_than_there_are_classes(self):
        assert Critic(10, 16)(torch.randn(4, 10)).shape == (4, 11)

    def test_it_is_batch_norm_and_three_linear_layers_with_batch_norm_and_relu_between(self):
        assert [type(one) for one in Critic(10, 16).layers] == [nn.BatchNorm1d, nn.Linear, *[nn.BatchNorm1d, nn.ReLU, nn.Linear] * 2]
